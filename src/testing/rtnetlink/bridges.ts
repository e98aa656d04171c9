import type { Machine } from '../machine/machine.ts';
import type { Link as Device, Namespace } from '../machine/state.ts';

/* Which devices have a carrier: ends of veth pairs while both are up, bridges while one of their ports runs. And the MTU of bridges. */

const ETHERNET_MTU = 1500;

/** The other end of a veth pair. */
export const otherEnd = (machine: Machine, { peer }: Device): Device | undefined =>
  peer && machine.state.namespaces.get(peer.namespace)?.links.find(({ index }) => index === peer.index);

/** Whether something is at the other end of the cable. */
export const hasCarrier = (machine: Machine, device: Device): boolean =>
  device.peer === undefined ? (device.carrier ?? true) : device.up && otherEnd(machine, device)?.up === true;

/** A bridge runs while one of its ports does (br_port_state_selection). */
export function selectPorts(machine: Machine, { links }: Namespace, bridge: Device): void {
  bridge.carrier =
    bridge.up && links.some(each => each.master === bridge.index && each.up && hasCarrier(machine, each));
}

/** Looks again at the bridge of a port. */
export function carried(machine: Machine, namespace: Namespace, { master }: Device): void {
  const bridge = namespace.links.find(({ index }) => index === master);
  if (bridge?.up === true) selectPorts(machine, namespace, bridge);
}

/** A bridge has the least MTU of its ports, until somebody sets another (br_mtu_auto_adjust). */
export function adjustMtu({ links }: Namespace, bridge: Device | undefined): void {
  if (bridge === undefined || bridge.hasOwnMtu === true) return;
  const ports = links.filter(({ master }) => master === bridge.index);
  bridge.mtu = ports.length === 0 ? ETHERNET_MTU : Math.min(...ports.map(({ mtu }) => mtu));
}
