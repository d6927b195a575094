using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace CsBackup;

/// <summary>The functions of the C ABI that are used, one to one. Outputs are <see cref="IntPtr"/>: the library's strings are freed by the library only.</summary>
internal static partial class Native
{
    /// <summary>The ABI that this assembly was written for.</summary>
    internal const uint AbiVersion = 1;
    internal const int Ok = 0;

    private const string Library = "cs_backup";
    private const string PathVariable = "CSBACKUP_LIBRARY";

    static Native() => NativeLibrary.SetDllImportResolver(typeof(Native).Assembly, Resolve);

    /// <summary>The path in CSBACKUP_LIBRARY where it is set; else where .NET looks: beside the assembly and in runtimes/.</summary>
    private static IntPtr Resolve(string name, Assembly assembly, DllImportSearchPath? search)
    {
        var path = Environment.GetEnvironmentVariable(PathVariable);
        return name == Library && !string.IsNullOrEmpty(path) ? NativeLibrary.Load(path) : IntPtr.Zero;
    }

    [LibraryImport(Library), UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    internal static partial uint csb_abi_version();

    [LibraryImport(Library), UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    internal static partial IntPtr csb_version();

    [LibraryImport(Library), UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    internal static partial void csb_string_free(IntPtr text);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8), UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    internal static partial int csb_service_open(string configJson, out ServiceHandle service, out IntPtr error);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8), UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    internal static partial int csb_service_request(ServiceHandle service, string requestJson, out IntPtr reply, out IntPtr error);

    [LibraryImport(Library), UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    internal static partial int csb_service_shutdown(ServiceHandle service, uint timeoutMs, out IntPtr error);

    [LibraryImport(Library), UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    internal static partial void csb_service_free(IntPtr service);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8), UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    internal static partial int csb_job_start(ServiceHandle service, string requestJson, out ulong job, out IntPtr error);

    [LibraryImport(Library), UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    internal static partial int csb_job_poll(
        ServiceHandle service, ulong job, ulong afterSeq, uint timeoutMs, out IntPtr events, out IntPtr error);

    [LibraryImport(Library), UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    internal static partial int csb_job_cancel(ServiceHandle service, ulong job, out IntPtr error);

    [LibraryImport(Library), UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    internal static partial int csb_job_report(ServiceHandle service, ulong job, int format, out IntPtr report, out IntPtr error);

    [LibraryImport(Library), UnmanagedCallConv(CallConvs = [typeof(CallConvCdecl)])]
    internal static partial int csb_job_release(ServiceHandle service, ulong job, out IntPtr error);

    /// <summary>Throws what a failed call said. Frees the error document.</summary>
    internal static void Check(int status, IntPtr error)
    {
        try
        {
            if (status != Ok)
            {
                throw CsBackupException.From(status, Marshal.PtrToStringUTF8(error));
            }
        }
        finally
        {
            csb_string_free(error);
        }
    }

    /// <summary>The document that a call wrote, or an exception. Frees both.</summary>
    internal static string Take(int status, IntPtr document, IntPtr error)
    {
        try
        {
            Check(status, error);
            return Marshal.PtrToStringUTF8(document) ?? "";
        }
        finally
        {
            csb_string_free(document);
        }
    }
}

/// <summary>An open service. Kept alive by every call that is under way, freed once, by whoever comes last.</summary>
internal sealed class ServiceHandle() : SafeHandle(IntPtr.Zero, ownsHandle: true)
{
    public override bool IsInvalid => handle == IntPtr.Zero;

    protected override bool ReleaseHandle()
    {
        Native.csb_service_free(handle);
        return true;
    }
}
