#nullable enable
using System;
using System.IO;
using System.Runtime.InteropServices;

namespace CsBackup.Interop
{
    /// <summary>Where the native library for this process may lie.</summary>
    public sealed class LibrarySearch
    {
        /// <param name="moduleFolder">The folder of the PowerShell module.</param>
        public LibrarySearch(string moduleFolder)
        {
            var named = Environment.GetEnvironmentVariable("CSBACKUP_LIBRARY");
            Named = string.IsNullOrEmpty(named) ? null : named;
            string system;
            if (RuntimeInformation.IsOSPlatform(OSPlatform.Linux))
            {
                (system, FileName) = ("linux", "libcs_backup.so");
            }
            else if (RuntimeInformation.IsOSPlatform(OSPlatform.OSX))
            {
                (system, FileName) = ("osx", "libcs_backup.dylib");
            }
            else
            {
                (system, FileName) = ("win", "cs_backup.dll");
            }
            Rid = system + "-" + RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant();
            RuntimesFolder = Path.Combine(moduleFolder, "runtimes");
            Packaged = Path.Combine(RuntimesFolder, Rid, "native", FileName);
            var target = Path.GetFullPath(Path.Combine(moduleFolder, "..", "target"));
            Built = new[] { Path.Combine(target, "release", FileName), Path.Combine(target, "debug", FileName) };
        }

        /// <summary>The runtime identifier, as linux-x64.</summary>
        public string Rid { get; }

        /// <summary>The library's name on this system, as libcs_backup.so.</summary>
        public string FileName { get; }

        /// <summary>The folder with a folder for every runtime identifier that the module was packed for.</summary>
        public string RuntimesFolder { get; }

        /// <summary>Its path in a package of the module.</summary>
        public string Packaged { get; }

        /// <summary>Its paths in a checkout.</summary>
        public string[] Built { get; }

        /// <summary>The path in CSBACKUP_LIBRARY; null where it is not set.</summary>
        public string? Named { get; }

        /// <summary>The library that is named, else the packaged one, else the one that was built last; null where there is none.</summary>
        public string? Find()
        {
            if (Named != null)
            {
                return File.Exists(Named) ? Path.GetFullPath(Named) : null;
            }
            if (File.Exists(Packaged))
            {
                return Packaged;
            }
            string? newest = null;
            foreach (var file in Built)
            {
                if (File.Exists(file) && (newest == null || File.GetLastWriteTimeUtc(file) > File.GetLastWriteTimeUtc(newest)))
                {
                    newest = file;
                }
            }
            return newest;
        }
    }
}
