import { Container } from '../container/index.ts';
import { NetNs } from '../netns/index.ts';
import { MemoryAccess } from './machine/access.ts';
import { MemoryCalls } from './machine/calls.ts';
import { Machine } from './machine/machine.ts';
import { netfilter } from './netfilter.ts';

/** A kernel in memory. */
export class MemoryKernel {
  readonly #machine: Machine;
  readonly #calls: MemoryCalls;

  private constructor(machine: Machine) {
    this.#machine = machine;
    this.#calls = new MemoryCalls(machine);
  }

  static create(options: { release?: string; modules?: readonly string[] } = {}): MemoryKernel {
    const [major = 6, minor = 12] = (options.release ?? '6.12').split('.').map(Number);
    return new MemoryKernel(
      new Machine({ version: [major, minor], modules: options.modules && new Set(options.modules) }, [netfilter]),
    );
  }

  netns(name: string): NetNs {
    const { inode } = this.#machine.createNamespace(name, false);
    return NetNs.over(new MemoryAccess(this.#machine, this.#calls, this.#calls.openNamespace(inode)));
  }

  container(name: string): Container {
    return Container.open({ netns: this.netns(name) });
  }
}
