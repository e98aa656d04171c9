import { parseArgs } from 'node:util';
import { printable } from '../errors.ts';
import { type DoctorOptions, doctor } from './doctor.ts';

const USAGE = `usage: netsteer doctor [options]

Tells what of IPVS, nf_tables and NFLOG works in a container's network namespace, why not, and what to run on the host.
It changes and loads nothing.

  --pid N            a process in the container; default: the namespace that this is run in
  --container NAME   the name or id that docker, podman, containerd, CRI-O, LXC, systemd-nspawn, runc or crun know it by
  --load             let the kernel load IPVS and nf_tables, if it has them
  --json             for programs
  -h, --help

Exit status: 0 everything works, 1 something does not, 2 the arguments cannot be understood.
`;

const OPTIONS = {
  pid: { type: 'string' },
  container: { type: 'string' },
  load: { type: 'boolean' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** The program `netsteer`: writes what it has to say, and what it cannot understand, and returns its exit status. */
export async function main(
  parameters: readonly string[],
  write: (text: string) => void,
  complain: (text: string) => void,
): Promise<number> {
  let options: DoctorOptions | undefined;
  try {
    options = understand(parameters);
  } catch (error) {
    complain(`netsteer: ${printable((error as Error).message)}\n\n${USAGE}`);
    return 2;
  }
  if (options === undefined) {
    write(USAGE);
    return 0;
  }
  const { ok, text } = await doctor(options);
  write(text);
  return ok ? 0 : 1;
}

/** Undefined where help is asked for. */
function understand(parameters: readonly string[]): DoctorOptions | undefined {
  const { values, positionals } = parseArgs({ args: [...parameters], options: OPTIONS, allowPositionals: true });
  if (values.help || parameters.length === 0) return undefined;
  if (positionals.length !== 1 || positionals[0] !== 'doctor')
    throw new Error(`no command ${JSON.stringify(positionals.join(' '))}`);
  if (values.pid !== undefined && values.container !== undefined) throw new Error('--pid or --container, not both');
  if (values.pid !== undefined && !/^[1-9]\d{0,9}$/.test(values.pid))
    throw new Error(`--pid ${JSON.stringify(values.pid)} is no process id`);
  return {
    load: values.load ?? false,
    json: values.json ?? false,
    ...(values.pid !== undefined && { pid: Number(values.pid) }),
    ...(values.container !== undefined && { container: values.container }),
  };
}
