import { NF_ACCEPT } from '../../linux/netfilter.ts';
import { type BuiltIn, FORWARD, INPUT, OUTPUT } from '../packets/hooks.ts';
import type { Packet } from '../packets/packet.ts';
import { input, inputError } from './input.ts';
import { output } from './output.ts';
import type { Context } from './transmit.ts';

/** Where IPVS stands among the hooks (ip_vs_ops4): only while the namespace has a service of the family. */
export function ipvsHooks(family: number): BuiltIn[] {
  const isOn = ({ namespace }: Context) => namespace.ipvs.services.some(each => each.family === family);
  const at = (hook: number, priority: number, run: (context: Context, packet: Packet) => number): BuiltIn => ({
    hook,
    priority,
    run: ({ balancing }, packet) => (isOn(balancing) ? run(balancing, packet) : NF_ACCEPT),
  });
  const into = (hook: number) => (context: Context, packet: Packet) => input(context, packet, hook);
  return [
    at(INPUT, 98, output),
    at(INPUT, 99, into(INPUT)),
    at(FORWARD, 99, (context, packet) =>
      packet.balanced === true ? NF_ACCEPT : (inputError(context, packet, FORWARD) ?? NF_ACCEPT),
    ),
    at(FORWARD, 100, output),
    at(OUTPUT, -99, output),
    at(OUTPUT, -98, into(OUTPUT)),
  ];
}
