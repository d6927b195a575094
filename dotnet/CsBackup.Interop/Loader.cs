#nullable enable
using System;
using System.ComponentModel;
using System.Runtime.InteropServices;

namespace CsBackup.Interop
{
    /// <summary>
    /// Loads a library at its absolute path. .NET Standard has nothing for it: .NET has the class NativeLibrary, and .NET Framework,
    /// which runs on Windows only, leaves it to the system.
    /// </summary>
    internal static class Loader
    {
        private static readonly Type? NativeLibrary = Type.GetType("System.Runtime.InteropServices.NativeLibrary");

        /// <exception cref="DllNotFoundException">It cannot be loaded; the message is the system's.</exception>
        internal static readonly Func<string, IntPtr> Load = Method<Func<string, IntPtr>>("Load", typeof(string)) ?? LoadOnFramework;

        /// <exception cref="EntryPointNotFoundException">The library has no function of that name.</exception>
        internal static readonly Func<IntPtr, string, IntPtr> Find =
            Method<Func<IntPtr, string, IntPtr>>("GetExport", typeof(IntPtr), typeof(string)) ?? FindOnFramework;

        private static TDelegate? Method<TDelegate>(string name, params Type[] parameters) where TDelegate : Delegate =>
            (TDelegate?)NativeLibrary?.GetMethod(name, parameters)!.CreateDelegate(typeof(TDelegate));

        private static IntPtr LoadOnFramework(string file)
        {
            var library = LoadLibraryW(file);
            return library != IntPtr.Zero ? library : throw new DllNotFoundException(new Win32Exception().Message);
        }

        private static IntPtr FindOnFramework(IntPtr library, string name)
        {
            var function = GetProcAddress(library, name);
            return function != IntPtr.Zero ? function : throw new EntryPointNotFoundException(name);
        }

        [DllImport("kernel32.dll", CharSet = CharSet.Unicode, ExactSpelling = true, SetLastError = true)]
        private static extern IntPtr LoadLibraryW(string file);

        [DllImport("kernel32.dll", CharSet = CharSet.Ansi, ExactSpelling = true, BestFitMapping = false)]
        private static extern IntPtr GetProcAddress(IntPtr library, string name);
    }
}
