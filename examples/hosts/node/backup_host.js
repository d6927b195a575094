#!/usr/bin/env node
// An example host: backs a pool up, or synchronizes it with its backup pool, and shows what happens. Ctrl+C cancels.
//
//     node backup_host.js DEPLOYMENT.toml POOL [--sync [--give-back]] [--report FILE]
//
// Exit code: 0 succeeded or nothing to do, 1 failed, 2 wrong usage, 3 succeeded with warnings, 4 cancelled.
"use strict";

const { parseArgs } = require("node:util");
const { BackupService, CsBackupError } = require("./cs_backup.js");

const USAGE = "usage: backup_host.js DEPLOYMENT.toml POOL [--sync [--give-back]] [--report FILE.html|FILE.json]";
const EXIT_CODES = { Skipped: 0, Succeeded: 0, Failed: 1, SucceededWithWarnings: 3, Cancelled: 4 };
const FAILED = 1;
const WRONG_USAGE = 2;

/** Prints events; the line of progress is rewritten in a terminal and left out of files and pipes. */
class Screen {
  #titles = new Map();

  show(event) {
    switch (event.event) {
      case "started":
        this.#line(`${event.command} ${event.poolFqdn}`);
        event.plan.steps.forEach((step, index) => this.#line(`  ${index + 1}. ${step.title}`));
        break;
      case "stepStarted":
        this.#titles.set(event.step, event.title);
        break;
      case "progress":
        this.#progress(event);
        break;
      case "stepFinished":
        this.#line(`  ${event.outcome}: ${this.#titles.get(event.step) ?? event.step}`);
        break;
      case "stateChanged":
        this.#line(`  ${event.module}: ${event.from} -> ${event.to} (${event.half})`);
        break;
      case "warning":
        this.#line(`  warning: ${event.message}`);
        break;
      case "retrying":
        this.#line(`  ${event.error.message} Attempt ${event.attempt} in ${event.delayMs} ms.`);
        break;
      default: // Later versions tell more kinds of events; they are none of this program's business.
    }
  }

  #progress(event) {
    if (!process.stdout.isTTY) {
      return;
    }
    // A database is counted in bytes.
    const unit = event.itemsDone || event.bytesTotal === null ? "items" : "bytes";
    const all = event[`${unit}Total`];
    const total = all === null ? "" : ` of ${all.toLocaleString("en")}`;
    const left = event.timeLeftMs === null ? "" : `, ${(event.timeLeftMs / 1000).toFixed(1)} s left`;
    process.stdout.write(`\r\x1b[K  ${event.activity}: ${event[`${unit}Done`].toLocaleString("en")}${total} ${unit}${left}`);
  }

  #line(text) {
    process.stdout.write(`${process.stdout.isTTY ? "\r\x1b[K" : ""}${text}\n`);
  }
}

function printError(error, print = console.log) {
  print(`${error.kind}: ${error.message}`);
  error.causes.forEach((cause) => print(`  because: ${cause}`));
  print(`  what to do: ${error.advice}`);
}

function printReport(report) {
  console.log(`\n${report.outcome} in ${report.durationMs.toLocaleString("en")} ms (job ${report.jobId})`);
  for (const { module, purpose, outcome, moved } of report.modules) {
    const written = `${moved.itemsWritten.toLocaleString("en")} ${purpose === "copy" ? "written" : "given back"}`;
    console.log(`  ${module.padEnd(27)} ${outcome}, ${written}, ${moved.itemsDeleted.toLocaleString("en")} deleted`);
  }
  for (const part of [...report.modules, report]) {
    part.quarantined?.forEach((at) => console.log(`  not copied: ${at.item}: ${at.reason} ${at.advice}`));
    part.warnings.forEach((warning) => console.log(`  warning: ${warning}`));
    part.errors.forEach((error) => printError(error));
  }
}

async function run(deployment, poolFqdn, options) {
  const service = await BackupService.open(deployment);
  try {
    if (options.report) {
      await service.checkReport(options.report);
    }
    const stop = new AbortController();
    process.on("SIGINT", () => stop.abort());
    const screen = new Screen();
    const start = options.sync ? "sync" : "backup";
    const request = options["give-back"] ? { poolFqdn, giveBack: true } : { poolFqdn };
    const report = await service[start](request, { onEvent: (event) => screen.show(event), signal: stop.signal });
    printReport(report);
    if (options.report) {
      console.log(`Report: ${await service.writeReport(report.jobId, options.report)}`);
    }
    return EXIT_CODES[report.outcome];
  } finally {
    await service.close();
  }
}

async function main() {
  let parsed;
  try {
    const flag = { type: "boolean" };
    parsed = parseArgs({ allowPositionals: true, options: { sync: flag, "give-back": flag, report: { type: "string" } } });
  } catch {
    parsed = { positionals: [] };
  }
  if (parsed.positionals.length !== 2 || (parsed.values["give-back"] && !parsed.values.sync)) {
    console.error(USAGE);
    return WRONG_USAGE;
  }
  try {
    return await run(...parsed.positionals, parsed.values);
  } catch (failure) {
    if (!(failure instanceof CsBackupError)) {
      throw failure;
    }
    printError(failure.document, console.error);
    return FAILED;
  }
}

main().then((code) => {
  process.exitCode = code;
});
