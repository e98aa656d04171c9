import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installConsumer } from './consumer.ts';
import { type Outcome, outcome, VITEST, vitestOptions } from './outcome.ts';
import { patience } from './support/wait.ts';
import { runInGuest } from './vm/guest.ts';
import { ensurePackages, GUEST_PACKAGES, isRoot, type KernelSeries } from './vm/packages.ts';

/*
 * npm test: unit tests, and kernel tests in namespaces of their own, on this machine; all that needs IPVS, and the whole deployment, on two of
 * Debian's kernels in QEMU. npm run test:long: the kernel tests on those kernels too, here by each way of calling C that is installed, and more
 * runs of what is tried often. Ends with the line `N passed, N failed, N skipped`.
 */

/** The real peers that tests compare with, real containers, and what the ABI probe compiles with. */
const PEERS = [
  'nftables',
  'ipset',
  'ipvsadm',
  'iptables',
  'iproute2',
  'conntrack',
  'runc',
  'crun',
  'musl',
  'gcc',
  'libc6-dev',
  'linux-libc-dev',
  'tcpdump',
  'tshark',
  'ulogd2',
  'ulogd2-json',
  'openssh-client',
  'openssl',
  'etcd-server',
];
const GUEST_SECONDS = patience(2400);

/** What no test sets on a real kernel: the codec and recorded conversations stand for it. */
const BY_ENCODING_ALONE = [
  'nf_tables secmark objects (they need a security module with contexts)',
  'IPVS before Linux 5.3, whose silence about tunnels is imitated on newer kernels',
  'IPVS out of memory, of threads for counters, without IPv6, or in the moment of its unloading (answers put in by hand)',
];

const long = process.argv.includes('--long');

/**
 * Kernel tests have run on this machine when the caller is root; on the guests' kernels they take some ten minutes more, since everything there is
 * emulated. Without root the guests are the only place for them.
 */
const inGuests = [...(long || !isRoot() ? ['kernel'] : []), 'guest', 'guest-apart'];

const outcomes: Outcome[] = [];
await ensurePackages([...GUEST_PACKAGES, ...PEERS]);
const consumer = installConsumer();
try {
  outcomes.push(await onHost());
  if (long && isRoot()) {
    for (const backend of otherBackends()) outcomes.push(await onHost(backend));
  }
  // Two guests at once: each is mostly one busy thread.
  outcomes.push(...(await Promise.all([inGuest('6.1'), inGuest('6.12')])));
} finally {
  consumer.remove();
}
report();

/** Ways of calling C besides koffi that this machine has, by the names that NETSTEER_FFI takes. */
function otherBackends(): string[] {
  const napi = fs.existsSync(join('node_modules', '@2060.io', 'ffi-napi')) ? ['ffi-napi'] : [];
  return process.getBuiltinModule('node:ffi') === undefined ? napi : [...napi, 'node:ffi'];
}

/** All that this machine can run; or the kernel tests once more, with another backend. */
async function onHost(backend?: string): Promise<Outcome> {
  const folder = fs.mkdtempSync(join(tmpdir(), 'netsteer-test-'));
  const file = join(folder, 'report.json');
  try {
    const projects = backend === undefined ? ['unit', 'kernel'] : ['kernel'];
    const child = spawn(process.execPath, [VITEST, ...vitestOptions(file, projects)], {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: {
        ...process.env,
        NETSTEER_CONSUMER: consumer.folder,
        ...(backend !== undefined && { NETSTEER_FFI: backend }),
        ...(long && backend === undefined && { NETSTEER_LONG: '1' }),
      },
    });
    const code = await new Promise<number | null>(resolve => child.on('close', resolve));
    return outcome(
      backend ?? 'host',
      fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : undefined,
      `vitest ended with ${code}`,
    );
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

async function inGuest(kernel: KernelSeries): Promise<Outcome> {
  const file = '/run/netsteer-report.json';
  let line = '';
  let why = '';
  let report: string | undefined;
  try {
    const result = await runInGuest({
      kernel,
      command: [process.execPath, VITEST, ...vitestOptions(file, inGuests)],
      timeoutSeconds: GUEST_SECONDS,
      collect: [file],
      env: {
        CI: 'true',
        NO_COLOR: '1',
        NETSTEER_CONSUMER: consumer.folder,
        ...(long && { NETSTEER_KILLS: '10' }),
      },
      // Two guests talk at once: whole lines, each with its kernel.
      onOutput: chunk => {
        const lines = (line + chunk).split('\n');
        line = lines.pop() ?? '';
        for (const each of lines) console.log(`[${kernel}] ${each}`);
      },
    });
    why = `vitest ended with ${result.exitCode}`;
    report = result.files.get(file)?.toString();
  } catch (error) {
    why = error instanceof Error ? error.message : String(error);
  }
  if (line !== '') console.log(`[${kernel}] ${line}`);
  return outcome(kernel, report, why);
}

function report(): void {
  console.log('\nwhere     passed  failed  skipped');
  for (const { where, passed, failed, skipped } of outcomes) {
    console.log(
      `${where.padEnd(8)} ${[passed, failed.length, skipped.length].map(n => String(n).padStart(7)).join(' ')}`,
    );
  }
  const list = (title: string, pick: (outcome: Outcome) => string[]) => {
    const lines = outcomes.flatMap(each => pick(each).map(name => `  [${each.where}] ${name}`));
    if (lines.length > 0) console.log(`\n${title}\n${lines.join('\n')}`);
    return lines.length;
  };
  const failed = list('failed:', each => each.failed);
  const skipped = list(
    isRoot() ? 'skipped:' : 'skipped (kernel tests on this machine need root):',
    each => each.skipped,
  );
  console.log(`\ntested by encoding alone: ${BY_ENCODING_ALONE.join('; ')}`);
  const passed = outcomes.reduce((sum, each) => sum + each.passed, 0);
  console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}
