// CsBackup from Node: the C library over koffi. Documents are objects with the fields of docs/documents.md.
//
//     const service = await BackupService.open("deployment.toml");
//     const report = await service.backup({ poolFqdn: "atl-cs-001.litwareinc.com" }, { onEvent: console.log, signal });
//     await service.close();
//
// Calls that may take a moment run on koffi's threads: the event loop is never blocked.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { promisify } = require("node:util");
const koffi = require("koffi");

const ABI_VERSION = 1;
const OK = 0;
const REPORT_JSON = 0;
const POLL_MS = 1000;
const SHUTDOWN_MS = 10_000;

// A handle is a number that the library looks up; its strings are taken as addresses, because they must be given back.
const SIGNATURES = {
  csb_abi_version: "uint32_t csb_abi_version()",
  csb_service_open: "int32_t csb_service_open(const char *config, _Out_ uintptr_t *service, _Out_ void **error)",
  csb_service_request: "int32_t csb_service_request(uintptr_t service, const char *request, _Out_ void **reply, _Out_ void **error)",
  csb_service_shutdown: "int32_t csb_service_shutdown(uintptr_t service, uint32_t timeout_ms, _Out_ void **error)",
  csb_service_free: "void csb_service_free(uintptr_t service)",
  csb_job_start: "int32_t csb_job_start(uintptr_t service, const char *request, _Out_ uint64_t *job, _Out_ void **error)",
  csb_job_poll:
    "int32_t csb_job_poll(uintptr_t service, uint64_t job, uint64_t after, uint32_t timeout_ms, _Out_ void **events, _Out_ void **error)",
  csb_job_cancel: "int32_t csb_job_cancel(uintptr_t service, uint64_t job, _Out_ void **error)",
  csb_job_report: "int32_t csb_job_report(uintptr_t service, uint64_t job, int32_t format, _Out_ void **report, _Out_ void **error)",
  csb_job_release: "int32_t csb_job_release(uintptr_t service, uint64_t job, _Out_ void **error)",
  csb_string_free: "void csb_string_free(void *string)",
};

/** A call that failed: its kind, its message, what to do, and the whole error document. */
class CsBackupError extends Error {
  constructor(document) {
    super(document.message);
    this.name = "CsBackupError";
    this.document = document;
    this.kind = document.kind;
    this.advice = document.advice;
  }
}

/** The library named by $CSBACKUP_LIBRARY, else the newest one built in this checkout; undefined if there is none. */
function libraryPath() {
  if (process.env.CSBACKUP_LIBRARY) {
    return process.env.CSBACKUP_LIBRARY;
  }
  const target = path.resolve(__dirname, "../../../target");
  const built = ["release", "debug"].map((profile) => path.join(target, profile, "libcs_backup.so")).filter(fs.existsSync);
  return built.sort((one, other) => fs.statSync(other).mtimeMs - fs.statSync(one).mtimeMs)[0];
}

/** The C functions, and the calls over them that keep the rules of the header. */
class Native {
  constructor(file) {
    const library = koffi.load(file);
    for (const [name, signature] of Object.entries(SIGNATURES)) {
      this[name] = library.func(signature);
    }
    const abi = this.csb_abi_version();
    if (abi !== ABI_VERSION) {
      throw new Error(`${file} has ABI ${abi}; this module was written for ABI ${ABI_VERSION}.`);
    }
  }

  /** Calls a function on another thread; throws the error document of one that failed. */
  async call(name, ...inputs) {
    const error = [null];
    const status = await promisify(this[name].async)(...inputs, error);
    const document = error[0] === null ? null : JSON.parse(this.take(error[0]));
    if (status !== OK) {
      throw new CsBackupError(document);
    }
  }

  /** The text that a function wrote to the output before its error. */
  async text(name, ...inputs) {
    const output = [null];
    await this.call(name, ...inputs, output);
    return this.take(output[0]);
  }

  /** Copies a string of the library and gives it back. */
  take(address) {
    try {
      return koffi.decode(address, "char", -1);
    } finally {
      this.csb_string_free(address);
    }
  }
}

/** One deployment; without a file only requests that need none are answered. Close it, so that it is shut down. */
class BackupService {
  static async open(deploymentFile = null, library = libraryPath()) {
    if (library === undefined) {
      throw new Error("The library is not built: run `cargo build`, or name it in CSBACKUP_LIBRARY.");
    }
    const native = new Native(library);
    const handle = [0];
    await native.call("csb_service_open", JSON.stringify({ deploymentFile }), handle);
    return new BackupService(native, handle[0]);
  }

  constructor(native, handle) {
    this.native = native;
    this.handle = handle;
  }

  /** Cancels what runs, waits up to ten seconds for the reports, and frees the handle, also where that fails. */
  async close() {
    try {
      await this.native.call("csb_service_shutdown", this.handle, SHUTDOWN_MS);
    } finally {
      this.native.csb_service_free(this.handle);
    }
  }

  /** The reply to a request: an object with the field `request`. */
  async request(document) {
    return JSON.parse(await this.native.text("csb_service_request", this.handle, JSON.stringify(document)));
  }

  /** Throws where the library would not write a report to this file; writes nothing. */
  async checkReport(file) {
    await this.request({ request: "writeReport", file, whatIf: true });
  }

  /** Writes the report of a job that has ended, as JSON to FILE.json, else as a page; its path. */
  async writeReport(jobId, file) {
    return (await this.request({ request: "writeReport", jobId, file })).file;
  }

  /**
   * Runs Backup-CsPool to its end and returns its report. `onEvent` is told every event in its order, `signal` (an AbortSignal)
   * cancels: the job then ends as always, with a report that says Cancelled.
   */
  backup(request, options) {
    return this.run({ job: "backup", ...request }, options);
  }

  /** The same with Invoke-CsBackupServiceSync. */
  sync(request, options) {
    return this.run({ job: "sync", ...request }, options);
  }

  /** The same with a job of any kind: an object with the field `job`. */
  async run(request, { onEvent = () => {}, signal } = {}) {
    signal?.throwIfAborted();
    const number = [0];
    await this.native.call("csb_job_start", this.handle, JSON.stringify(request), number);
    const [job] = number;
    const cancel = () => this.native.call("csb_job_cancel", this.handle, job);
    signal?.addEventListener("abort", cancel);
    try {
      if (signal?.aborted) {
        await cancel();
      }
      await this.#follow(job, onEvent);
      return JSON.parse(await this.native.text("csb_job_report", this.handle, job, REPORT_JSON));
    } catch (failure) {
      await cancel();
      await this.#follow(job, () => {});
      throw failure;
    } finally {
      signal?.removeEventListener("abort", cancel);
      await this.native.call("csb_job_release", this.handle, job);
    }
  }

  async #follow(job, onEvent) {
    for (let seen = 0, ended = false; !ended; ) {
      const told = JSON.parse(await this.native.text("csb_job_poll", this.handle, job, seen, POLL_MS));
      seen = told.lastSeq;
      for (const event of told.events) {
        onEvent(event);
        ended = event.event === "finished";
      }
    }
  }
}

module.exports = { BackupService, CsBackupError };
