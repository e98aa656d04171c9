import { parseArgs } from 'node:util';
import { balancer } from './balancer.ts';
import { codec } from './codec.ts';
import { compile } from './compile.ts';
import { conntrack } from './conntrack.ts';
import { dataplane } from './dataplane.ts';
import { ffi } from './ffi.ts';
import { fleet } from './fleet.ts';
import type { Result } from './harness.ts';
import { ipvs } from './ipvs.ts';
import { memory } from './memory.ts';
import { netns } from './netns.ts';
import { nflog } from './nflog.ts';
import { nftables } from './nftables.ts';
import { parse } from './parse.ts';
import { reconcile } from './reconcile.ts';
import { start } from './start.ts';
import { update } from './update.ts';

type Measured = Result[] | { results: Result[]; versions: Record<string, string> };

/** By the names that the command line takes. */
export const BENCHMARKS: Record<string, (quick: boolean) => Promise<Measured>> = {
  ffi,
  codec,
  netns,
  ipvs,
  nftables,
  compile,
  parse,
  nflog,
  conntrack,
  fleet,
  update,
  reconcile,
  dataplane,
  start,
  memory,
  balancer,
};
/** Every benchmark, one after the other. */
export const ALL = 'all';
/** Two results files beside each other. */
export const COMPARE = 'compare';
/** Only the pages, from the results that are there. */
export const PAGES = 'pages';
export const GUESTS = ['host', 'uml', 'qemu'];

export interface Options {
  readonly name: string;
  readonly quick: boolean;
  readonly guest: string;
  readonly json: string | undefined;
  /** A directory. */
  readonly plot: string | undefined;
  /** Of `compare`: the older results, and the newer ones. */
  readonly files: readonly string[];
}

/** What the arguments ask for; undefined where they ask for nothing that there is. */
export function readOptions(args: readonly string[]): Options | undefined {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        quick: { type: 'boolean' },
        guest: { type: 'string' },
        json: { type: 'string' },
        plot: { type: 'string' },
      },
    });
    const [name, ...files] = positionals;
    // This machine's kernel seldom has IPVS: by default it is measured where there is one.
    const guest = values.guest ?? (name === 'ipvs' ? 'uml' : 'host');
    if (name === undefined || !GUESTS.includes(guest)) return undefined;
    if (files.length !== (name === COMPARE ? 2 : 0)) return undefined;
    if (![ALL, PAGES, COMPARE].includes(name) && !Object.hasOwn(BENCHMARKS, name)) return undefined;
    return { name, quick: values.quick ?? false, guest, json: values.json, plot: values.plot, files };
  } catch {
    return undefined;
  }
}
