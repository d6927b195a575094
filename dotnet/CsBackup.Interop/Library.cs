#nullable enable
using System;
using System.Collections;
using System.Runtime.InteropServices;
using System.Text;

namespace CsBackup.Interop
{
    /// <summary>
    /// The native library at one path: texts in, texts out, nothing to free. Every text of the library is copied and given back
    /// before a call returns. Every member may be called from any thread.
    /// </summary>
    public sealed unsafe class Library
    {
        private readonly IntPtr _module;

        private Library(string? file)
        {
            File = file;
            if (file == null)
            {
                return;
            }
            try
            {
                _module = Loader.Load(file);
                AbiVersion = Function<ReadNumber>("csb_abi_version")();
            }
            catch (Exception problem) when (problem is DllNotFoundException or BadImageFormatException or EntryPointNotFoundException)
            {
                Problem = problem.Message;
            }
        }

        /// <summary>
        /// Finds the library for this process and loads it; it stays loaded until the process ends. Does not throw: where
        /// <see cref="AbiVersion"/> is 0, <see cref="File"/> and <see cref="Problem"/> say why.
        /// </summary>
        /// <param name="moduleFolder">The folder of the PowerShell module.</param>
        public static Library Load(string moduleFolder) => new Library(Search(moduleFolder).Find());

        /// <summary>Where the library for this process may lie.</summary>
        /// <param name="moduleFolder">The folder of the PowerShell module.</param>
        public static LibrarySearch Search(string moduleFolder) => new LibrarySearch(moduleFolder);

        /// <summary>Where it was loaded from; null where there is none.</summary>
        public string? File { get; }

        /// <summary>Why it cannot be loaded, in the words of the system; null where it was, and where there is none.</summary>
        public string? Problem { get; }

        /// <summary>The number of its ABI; 0 where it cannot be used.</summary>
        public uint AbiVersion { get; }

        /// <summary>Its version, as 0.1.0.</summary>
        public string Version => Copy(Function<ReadText>("csb_version")())!;

        /// <summary>Opens a service; it is in <see cref="Answer.Service"/>.</summary>
        /// <param name="deploymentFile">The absolute path of a deployment; null or empty for a service that answers what needs none.</param>
        public Answer Open(string? deploymentFile)
        {
            var config = new Hashtable();
            if (!string.IsNullOrEmpty(deploymentFile))
            {
                config["deploymentFile"] = deploymentFile;
            }
            var status = Function<OpenService>("csb_service_open")(Utf8(config), out var handle, out var problem);
            var answer = Answer(status, IntPtr.Zero, problem);
            answer.Service = answer.Failure == null ? new Service(this, deploymentFile, handle) : null;
            return answer;
        }

        /// <summary>What a call gave. Takes both texts.</summary>
        internal Answer Answer(int status, IntPtr document, IntPtr problem)
        {
            var failure = status == 0 ? null : Copy(Function<ReadStatusName>("csb_status_name")(status));
            return new Answer(failure, Take(document), Take(problem));
        }

        internal TDelegate Function<TDelegate>(string name) where TDelegate : Delegate =>
            Marshal.GetDelegateForFunctionPointer<TDelegate>(Loader.Find(_module, name));

        /// <summary>A text that the library handed out, which gets it back; null where it handed out none.</summary>
        internal string? Take(IntPtr text)
        {
            try
            {
                return Copy(text);
            }
            finally
            {
                Function<FreeString>("csb_string_free")(text);
            }
        }

        /// <summary>A document in UTF-8 that ends in a zero, as the library takes it.</summary>
        internal static byte[] Utf8(IDictionary document) => Encoding.UTF8.GetBytes(Json.Write(document) + "\0");

        // .NET Framework has no function for it.
        private static string? Copy(IntPtr text)
        {
            if (text == IntPtr.Zero)
            {
                return null;
            }
            var first = (byte*)text;
            var end = first;
            while (*end != 0)
            {
                end++;
            }
            return Encoding.UTF8.GetString(first, checked((int)(end - first)));
        }

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate uint ReadNumber();

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate IntPtr ReadText();

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate IntPtr ReadStatusName(int status);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate void FreeString(IntPtr text);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate int OpenService(byte[] config, out IntPtr handle, out IntPtr problem);
    }
}
