#nullable enable
using System;
using System.Collections;
using System.Runtime.InteropServices;
using System.Threading;

namespace CsBackup.Interop
{
    /// <summary>An open service. Once it is closed, every call is answered with an error.</summary>
    public sealed class Service
    {
        private IntPtr _handle;

        internal Service(Library library, string? deploymentFile, IntPtr handle)
        {
            Library = library;
            DeploymentFile = deploymentFile;
            _handle = handle;
        }

        /// <summary>What it was opened with: a deployment file or its folder, or nothing.</summary>
        public string? DeploymentFile { get; }

        /// <summary>The library that it was opened with.</summary>
        public Library Library { get; }

        /// <summary>Answers a request document.</summary>
        public Answer Request(IDictionary request)
        {
            var status = Library.Function<SendDocument>("csb_service_request")(
                _handle, Library.Utf8(request), out var reply, out var problem);
            return Library.Answer(status, reply, problem);
        }

        /// <summary>Starts a job; its number is in <see cref="Interop.Answer.Job"/>.</summary>
        /// <param name="request">What to do: its job, and the fields of that job.</param>
        public Answer Start(IDictionary request)
        {
            var status = Library.Function<StartJob>("csb_job_start")(_handle, Library.Utf8(request), out var job, out var problem);
            var answer = Library.Answer(status, IntPtr.Zero, problem);
            answer.Job = job;
            return answer;
        }

        /// <summary>The events of a job that come after one number; waits for the next where there are none.</summary>
        public Answer Poll(ulong job, ulong after, uint timeoutMs)
        {
            var status = Library.Function<PollJob>("csb_job_poll")(_handle, job, after, timeoutMs, out var events, out var problem);
            return Library.Answer(status, events, problem);
        }

        /// <summary>Asks a job to stop; does not wait for it.</summary>
        public Answer Cancel(ulong job) => EndJob("csb_job_cancel", job);

        /// <summary>The report document of a job that has ended.</summary>
        public Answer Report(ulong job)
        {
            var status = Library.Function<ReadReport>("csb_job_report")(_handle, job, 0, out var report, out var problem);
            return Library.Answer(status, report, problem);
        }

        /// <summary>Lets a job that has ended be forgotten.</summary>
        public Answer Release(ulong job) => EndJob("csb_job_release", job);

        /// <summary>Cancels what runs, waits for it, and frees the service. Only the first call does anything.</summary>
        public void Close(uint timeoutMs)
        {
            var handle = Interlocked.Exchange(ref _handle, IntPtr.Zero);
            if (handle != IntPtr.Zero)
            {
                Library.Function<Shutdown>("csb_service_shutdown")(handle, timeoutMs, out var problem);
                Library.Take(problem);
                Library.Function<Free>("csb_service_free")(handle);
            }
        }

        private Answer EndJob(string function, ulong job)
        {
            var status = Library.Function<TellJob>(function)(_handle, job, out var problem);
            return Library.Answer(status, IntPtr.Zero, problem);
        }

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate int SendDocument(IntPtr service, byte[] document, out IntPtr reply, out IntPtr problem);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate int StartJob(IntPtr service, byte[] request, out ulong job, out IntPtr problem);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate int PollJob(IntPtr service, ulong job, ulong after, uint timeoutMs, out IntPtr events, out IntPtr problem);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate int TellJob(IntPtr service, ulong job, out IntPtr problem);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate int ReadReport(IntPtr service, ulong job, int format, out IntPtr report, out IntPtr problem);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate int Shutdown(IntPtr service, uint timeoutMs, out IntPtr problem);

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        private delegate void Free(IntPtr service);
    }
}
