import { parseArgs } from 'node:util';
import { GuestError, runInGuest } from './guest.ts';
import { ensurePackages, GUEST_PACKAGES, type KernelSeries, kernelPackage } from './packages.ts';

const USAGE = `Runs a command as root in a QEMU guest on one of Debian 12's kernels, with this machine's files.

usage: npm run vm -- [options] [--] <command> [arguments]
  --kernel 6.1|6.12   Debian's cloud kernel to boot (default: 6.12)
  --kvm               use /dev/kvm instead of emulating the processor (also: NETSTEER_KVM=1)
  --timeout SECONDS   from the start to the command's end (default: 600, and more on a slow machine)
  --env NAME=VALUE    adds to the command's environment; may be repeated

What the command writes to files is gone afterwards. The exit code is the command's.`;

/** What `timeout` of coreutils uses, and what `env` uses for a failure of its own. */
const EXIT_TIMEOUT = 124;
const EXIT_FAILURE = 125;

class UsageError extends Error {}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  if (error instanceof UsageError) console.error(`\n${USAGE}`);
  const timedOut = error instanceof GuestError && error.reason !== 'panic' && error.reason !== 'start';
  process.exitCode = timedOut ? EXIT_TIMEOUT : EXIT_FAILURE;
}

async function main(args: string[]): Promise<number> {
  const [options, command] = split(args);
  if (command.length === 0) {
    console.log(USAGE);
    return options.help ? 0 : 2;
  }
  await ensurePackages(GUEST_PACKAGES);
  const kernel = await kernelPackage(options.kernel);
  console.error(`${kernel.package} ${kernel.version}`);
  const result = await runInGuest({
    kernel: options.kernel,
    command,
    env: options.env,
    ...(options.timeoutSeconds === undefined ? {} : { timeoutSeconds: options.timeoutSeconds }),
    ...(options.kvm ? { kvm: true } : {}),
    onOutput: chunk => process.stdout.write(chunk),
  });
  console.error(`booted in ${result.bootSeconds.toFixed(1)} s, ran ${result.seconds.toFixed(1)} s`);
  return result.exitCode;
}

interface Options {
  readonly kernel: KernelSeries;
  readonly kvm: boolean;
  readonly timeoutSeconds: number | undefined;
  readonly env: Record<string, string>;
  readonly help: boolean;
}

/** Options end at the first word that is none, so the command's own options need no `--` before it. */
function split(args: string[]): [Options, string[]] {
  const valued = new Set(['--kernel', '--timeout', '--env']);
  let end = 0;
  while (args[end]?.startsWith('-') && args[end] !== '--') end += valued.has(args[end] ?? '') ? 2 : 1;
  const command = args.slice(args[end] === '--' ? end + 1 : end);
  return [parseOptions(args.slice(0, end)), command];
}

function parseOptions(args: string[]): Options {
  const { values } = parse(args);
  const kernel = values.kernel ?? '6.12';
  if (kernel !== '6.1' && kernel !== '6.12') throw new UsageError(`no kernel ${kernel}: 6.1 or 6.12`);
  const timeoutSeconds = values.timeout === undefined ? undefined : Number(values.timeout);
  if (timeoutSeconds !== undefined && !(timeoutSeconds > 0)) throw new UsageError(`bad --timeout ${values.timeout}`);
  const env = Object.fromEntries((values.env ?? []).map(variable));
  return { kernel, kvm: values.kvm ?? false, timeoutSeconds, env, help: values.help ?? false };
}

function variable(assignment: string): [string, string] {
  const equals = assignment.indexOf('=');
  if (equals < 1) throw new UsageError(`bad --env ${assignment}: NAME=VALUE`);
  return [assignment.slice(0, equals), assignment.slice(equals + 1)];
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        kernel: { type: 'string' },
        kvm: { type: 'boolean' },
        timeout: { type: 'string' },
        env: { type: 'string', multiple: true },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
