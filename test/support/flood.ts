import { spawn, spawnSync } from 'node:child_process';
import { nativeProgram } from './native.ts';

/** Where the packets are sent from. */
interface Place {
  run<T>(work: () => T): T;
}

export interface Flood {
  /** Default 127.0.0.1. */
  readonly address?: string;
  /** Default 9999. */
  readonly port?: number;
  /** Destination ports from `port` on, by turns. */
  readonly ports?: number;
  readonly count: number;
  /** Bytes of the whole IP packet; 64 where left out, and never less than the headers and the stamp. */
  readonly size?: number;
  /** Packets a second; as many as possible where left out. */
  readonly rate?: number;
  /** Packets of one sendmmsg. */
  readonly batch?: number;
  /** Sockets that take turns, each with a source port of its own. */
  readonly sockets?: number;
  /** IPv4 address of the first socket; the others' follow it. */
  readonly source?: string;
}

export interface Flooded {
  packets: number;
  nanoseconds: number;
  cpuMicroseconds: number;
}

/** Bytes at the beginning of each payload: "netsteer", number, CLOCK_MONOTONIC, CLOCK_REALTIME. */
export const STAMP = { text: 'netsteer', number: 8, monotonic: 16, realtime: 24, length: 32 } as const;

function parametersOf(flood: Flood): string[] {
  const { address = '127.0.0.1', port = 9999, count } = flood;
  const options = {
    '-s': flood.size,
    '-r': flood.rate,
    '-b': flood.batch,
    '-f': flood.sockets,
    '-a': flood.source,
    '-p': flood.ports,
  };
  const given = Object.entries(options).flatMap(([option, value]) => (value === undefined ? [] : [option, `${value}`]));
  return [...given, address, String(port), String(count)];
}

/** native/flood.c while this process goes on. `started` is called when it runs. */
export async function flood(place: Place, options: Flood, started = () => {}): Promise<Flooded> {
  const program = nativeProgram('flood');
  const child = place.run(() => spawn(program, parametersOf(options), { stdio: ['ignore', 'pipe', 'inherit'] }));
  started();
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) throw new Error(`the flood ended with ${code}`);
  return JSON.parse(Buffer.concat(chunks).toString());
}

/** native/flood.c while this process stands still: nothing of it is read before this returns. */
export function floodNow(place: Place, options: Flood): Flooded {
  const program = nativeProgram('flood');
  const { status, stdout, error } = place.run(() =>
    spawnSync(program, parametersOf(options), { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' }),
  );
  if (status !== 0) throw error ?? new Error(`the flood ended with ${status}`);
  return JSON.parse(stdout);
}
