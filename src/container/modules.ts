import fs from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import type { Places } from './find/records.ts';

/**
 * Whether the running kernel has a module. 'present': loaded or built in. 'loadable': there is a file that the kernel can load.
 * 'elsewhere': not present, and /lib/modules is not here to look for a file. 'absent': the kernel does not have it.
 */
export type ModuleState = 'present' | 'loadable' | 'elsewhere' | 'absent';

/**
 * Looks modules up without loading any: in /proc/modules, in the lists of built-in and loadable modules under /lib/modules, and among the
 * kernel's symbols. Containers and many virtual machines have no /lib/modules; there only the symbols tell.
 */
export class KernelModules {
  /** Of the running kernel: '6.12.94+deb13-amd64'. */
  readonly release: string;
  readonly #root: string;
  readonly #modular: boolean;
  readonly #loaded: ReadonlySet<string>;
  readonly #builtin: ReadonlySet<string>;
  readonly #loadable: ReadonlySet<string>;
  #symbols: string | undefined;

  constructor({ root }: Places) {
    this.#root = root;
    this.release = this.#read('proc/sys/kernel/osrelease').trim() || release();
    this.#modular = fs.existsSync(join(root, 'proc/modules'));
    this.#loaded = new Set(lines(this.#read('proc/modules')).map(line => line.split(' ')[0]!));
    const folder = `lib/modules/${this.release}`;
    this.#builtin = moduleNames(this.#read(`${folder}/modules.builtin`));
    this.#loadable = moduleNames(this.#read(`${folder}/modules.dep`));
  }

  /** `symbol` is a function that only this module has. */
  state(module: string, symbol: string): ModuleState {
    if (this.#loaded.has(module) || this.#builtin.has(module)) return 'present';
    if (this.#loadable.has(module)) return 'loadable';
    this.#symbols ??= this.#read('proc/kallsyms');
    if (this.#symbols.includes(` ${symbol}`)) return 'present';
    if (this.#loadable.size > 0) return 'absent';
    // A kernel without loadable modules has only what its symbols name. Where the symbols are hidden, nothing is known.
    return this.#modular || this.#symbols === '' ? 'elsewhere' : 'absent';
  }

  /** Why the kernel loads no module by itself; with a remedy where loading it by hand is not possible either. */
  get obstacle(): { why: string; remedy?: string } | undefined {
    if (this.#read('proc/sys/kernel/modules_disabled').trim() === '1')
      return { why: 'the sysctl kernel.modules_disabled is 1, until the next boot', remedy: 'reboot' };
    const loader = this.#read('proc/sys/kernel/modprobe').trim();
    if (!this.#modular || (loader !== '' && loader !== '/bin/false' && loader !== '/bin/true')) return undefined;
    return {
      why: `the sysctl kernel.modprobe is ${JSON.stringify(loader)}, so the kernel loads no module by itself`,
    };
  }

  #read(path: string): string {
    try {
      return fs.readFileSync(join(this.#root, path), 'latin1');
    } catch {
      return '';
    }
  }
}

const lines = (text: string): string[] => text.split('\n').filter(Boolean);

/** 'kernel/net/netfilter/ipvs/ip_vs.ko.xz: ...' is the module ip_vs; a dash in a file's name is an underscore in the module's. */
function moduleNames(text: string): Set<string> {
  const names = lines(text).map(line => /([^/:]+)\.ko(?:\.\w+)?(?::|$)/.exec(line)?.[1]?.replaceAll('-', '_'));
  return new Set(names.filter(name => name !== undefined));
}
