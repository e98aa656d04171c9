import { parseArgs } from 'node:util';
import { printable } from '../errors.ts';
import { type DoctorOptions, doctor } from './doctor.ts';

const USAGE = `usage: netsteer doctor [options]

Tells which of IPVS, nf_tables and NFLOG work in a container's network namespace, why the others do not, and what to run
on the host. It changes nothing, and loads no kernel module without --load.

  --pid N            a process in the container; default: the namespace that this program runs in
  --container NAME   the container's name or id in docker, podman, containerd, CRI-O, LXC, systemd-nspawn, runc or crun
  --load             let the kernel load IPVS and nf_tables, if it has them
  --json             print JSON
  -h, --help         print this text

Exit status: 0 everything works, 1 something does not, 2 the arguments cannot be understood.
`;

const OPTIONS = {
  pid: { type: 'string' },
  container: { type: 'string' },
  load: { type: 'boolean' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** The program `netsteer`. `write` gets its output and `complain` its errors. Returns the exit status. */
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

/** Parses the arguments; undefined if they ask for help. */
function understand(parameters: readonly string[]): DoctorOptions | undefined {
  const { values, positionals } = parseArgs({ args: [...parameters], options: OPTIONS, allowPositionals: true });
  if (values.help || parameters.length === 0) return undefined;
  if (positionals.length !== 1 || positionals[0] !== 'doctor')
    throw new Error(`unknown command ${JSON.stringify(positionals.join(' '))}; the only command is doctor`);
  if (values.pid !== undefined && values.container !== undefined)
    throw new Error('give --pid or --container, not both');
  if (values.pid !== undefined && !/^[1-9]\d{0,9}$/.test(values.pid))
    throw new Error(`--pid must be a process id, not ${JSON.stringify(values.pid)}`);
  return {
    load: values.load ?? false,
    json: values.json ?? false,
    ...(values.pid !== undefined && { pid: Number(values.pid) }),
    ...(values.container !== undefined && { container: values.container }),
  };
}
