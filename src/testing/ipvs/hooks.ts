import { NF_ACCEPT } from '../nf_tables/expressions/type.ts';
import { type BuiltIn, FORWARD, INPUT, OUTPUT } from '../packets/hooks.ts';
import type { Packet } from '../packets/packet.ts';
import { input, inputError } from './input.ts';
import { output } from './output.ts';
import type { Context } from './transmit.ts';

/** Where IPVS stands among the hooks (ip_vs_ops4): only while the namespace has a service of the family. */
export function ipvsHooks(context: Context, family: number): BuiltIn[] {
  if (!context.namespace.ipvs.services.some(each => each.family === family)) return [];
  const at = (hook: number, priority: number, run: (packet: Packet) => number): BuiltIn => ({
    family,
    hook,
    priority,
    run,
  });
  const into = (hook: number) => (packet: Packet) => input(context, packet, hook);
  const outOf = (packet: Packet) => output(context, packet);
  return [
    at(INPUT, 98, outOf),
    at(INPUT, 99, into(INPUT)),
    at(FORWARD, 99, packet =>
      packet.balanced === true ? NF_ACCEPT : (inputError(context, packet, FORWARD) ?? NF_ACCEPT),
    ),
    at(FORWARD, 100, outOf),
    at(OUTPUT, -99, outOf),
    at(OUTPUT, -98, into(OUTPUT)),
  ];
}
