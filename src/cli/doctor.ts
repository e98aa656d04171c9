import fs from 'node:fs';
import { release } from 'node:os';
import { type Ability, Container } from '../container/index.ts';
import { printable, printableOutput } from '../errors.ts';
import { ffi } from '../ffi/index.ts';
import { NetNs } from '../netns/index.ts';

export interface DoctorOptions {
  pid?: number;
  /** The name or id that its runtime knows it by. */
  container?: string;
  load: boolean;
  json: boolean;
}

/** The findings, as `--json` prints them. */
export interface Diagnosis {
  ok: boolean;
  versions: { netsteer: string; node: string; libc: string; ffi: string; kernel: string };
  /** The process that was looked at, and its name (/proc/PID/comm), which the process chooses. */
  process?: { pid: number; name: string };
  /** The inode of the network namespace. */
  netns?: number;
  abilities: Ability[];
  /** Why the container could not be opened. */
  error?: { code?: string; message: string };
}

/** Finds out what works in a container, and formats it. */
export async function doctor(options: DoctorOptions): Promise<{ ok: boolean; text: string }> {
  const diagnosis = await diagnose(options);
  return { ok: diagnosis.ok, text: options.json ? json(diagnosis) : human(diagnosis) };
}

async function diagnose({ pid, container: name, load }: DoctorOptions): Promise<Diagnosis> {
  const known: Diagnosis = { ok: false, versions: versions(), abilities: [] };
  if (pid !== undefined) known.process = { pid, name: nameOf(pid) };
  try {
    // The host is allowed, because nothing is changed.
    const whole = { allowHost: true };
    await using container =
      name !== undefined
        ? await Container.find(name, { ...whole, allowShared: true })
        : Container.open(pid === undefined ? { netns: NetNs.home() } : { pid }, whole);
    return { ...known, netns: container.netns.inode, ...(await container.preflight({ load })) };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return { ...known, error: { ...(code !== undefined && { code }), message } };
  }
}

function versions(): Diagnosis['versions'] {
  const path = new URL('../../package.json', import.meta.url);
  const { version } = JSON.parse(fs.readFileSync(path, 'utf8')) as { version: string };
  const { glibcVersionRuntime } = (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header;
  const libc = glibcVersionRuntime === undefined ? 'musl' : `glibc ${glibcVersionRuntime}`;
  return { netsteer: version, node: process.version, libc, ffi: ffi().name, kernel: release() };
}

function nameOf(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd();
  } catch {
    return '';
  }
}

function human({ ok, versions: v, process: of, netns, abilities, error }: Diagnosis): string {
  const lines = [`netsteer ${v.netsteer}, Node ${v.node}, ${v.libc}, ${v.ffi}, Linux ${v.kernel}`];
  const where = netns === undefined ? '' : `network namespace net:[${netns}]`;
  if (of !== undefined) lines.push(`process ${of.pid} (${of.name})${where && `, ${where}`}`);
  else if (where) lines.push(where);
  lines.push('');
  if (error !== undefined) lines.push(`it cannot be opened: ${error.message}`);
  for (const { name, works, why, remedy } of abilities) {
    lines.push(`${works ? 'works' : 'fails'}  ${name.padEnd(9)} ${why ?? ''}`.trimEnd());
    if (remedy !== undefined) lines.push(`                 on the host: ${remedy}`);
  }
  if (ok) lines.push('', 'everything works');
  return `${lines.map(printable).join('\n')}\n`;
}

const json = (diagnosis: Diagnosis): string => `${printableOutput(JSON.stringify(diagnosis, undefined, 2))}\n`;
