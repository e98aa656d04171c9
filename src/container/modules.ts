import fs from 'node:fs';
import { release } from 'node:os';

/** Whether the running kernel has a module: in it already, as a file that it can load when it is asked, or not at all. */
export type ModuleState = 'present' | 'loadable' | 'absent' | 'unknown';

/**
 * Looks modules up without loading any: in /proc/modules, then in the lists of built-in and of loadable ones under /lib/modules. Kernels
 * without that folder (many virtual machines) have everything built in, which only the kernel's own symbols tell.
 */
export class KernelModules {
  readonly #loaded = new Set(lines('/proc/modules').map(line => line.split(' ')[0]!));
  readonly #folder = `/lib/modules/${release()}`;
  readonly #builtin = moduleNames(`${this.#folder}/modules.builtin`);
  readonly #loadable = moduleNames(`${this.#folder}/modules.dep`);
  #symbols: string | undefined;

  /** `symbol` is a function that only this module has. */
  state(module: string, symbol: string): ModuleState {
    if (this.#loaded.has(module) || this.#builtin.has(module)) return 'present';
    if (this.#loadable.has(module)) return 'loadable';
    this.#symbols ??= read('/proc/kallsyms');
    if (this.#symbols === '') return 'unknown';
    return this.#symbols.includes(` ${symbol}`) ? 'present' : 'absent';
  }
}

function read(path: string): string {
  try {
    return fs.readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

const lines = (path: string): string[] => read(path).split('\n').filter(Boolean);

/** 'kernel/net/netfilter/ipvs/ip_vs.ko.xz: ...' is the module ip_vs; a dash in a file's name is an underscore in the module's. */
function moduleNames(path: string): Set<string> {
  const names = lines(path).map(line => /([^/:]+)\.ko(?:\.\w+)?(?::|$)/.exec(line)?.[1]?.replaceAll('-', '_'));
  return new Set(names.filter(name => name !== undefined));
}
