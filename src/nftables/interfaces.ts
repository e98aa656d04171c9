import type { Transport } from '../netlink/index.ts';

/** The devices of a namespace, for `iif`, `oif` and whatever else names one by its index. */
export interface Interfaces {
  readonly interfaceName: (index: number) => string | undefined;
  readonly interfaces: (name: string) => number | undefined;
}

/** Those of a wire's namespace. Each is asked once: within one operation a name is one device. */
export function interfacesOf(wire: Transport): Interfaces {
  return {
    interfaceName: remembered(index => wire.deviceName?.(index)),
    interfaces: remembered(name => wire.deviceIndex?.(name)),
  };
}

function remembered<K, V>(ask: (key: K) => V): (key: K) => V {
  const known = new Map<K, V>();
  return key => {
    if (known.has(key)) return known.get(key)!;
    const value = ask(key);
    known.set(key, value);
    return value;
  };
}
