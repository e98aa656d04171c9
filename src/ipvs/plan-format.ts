import { printable } from '../errors.ts';
import { DESTINATION, type DestinationKey } from '../ip_vs/destination.ts';
import { SERVICE, type ServiceKey } from '../ip_vs/service.ts';
import { endpoint } from '../ipvsadm/format.ts';
import type { DestinationPatch, IpvsOperation, ServicePatch } from './operation.ts';

/**
 * Operations as text for people, one a line: `+` adds, `~` changes, `-` removes.
 *
 *     + service tcp 10.0.0.1:80 wlc
 *     + destination tcp 10.0.0.1:80 -> 10.1.0.1:80 direct weight 1
 * @param operations a plan, or any list of operations
 * @example
 * console.log(formatPlan(await ipvs.plan([], { prune: true })));
 */
export function formatPlan(operations: readonly IpvsOperation[]): string {
  return operations.map(operation => `${printable(line(operation))}\n`).join('');
}

function line(operation: IpvsOperation): string {
  switch (operation.op) {
    case 'addService':
      return `+ service ${nameOf(operation.service)} ${scheduling(operation.service)}`;
    case 'setService':
      return `~ service ${nameOf(operation.service)} ${scheduling(operation.service)}`;
    case 'editService':
      return `~ service ${nameOf(operation.key)} ${scheduling(operation.patch)}`;
    case 'removeService':
      return `- service ${nameOf(operation.key)}`;
    case 'addDestination':
      return `+ destination ${serverOf(operation.key, operation.destination)} ${settings({ weight: 1, ...operation.destination })}`;
    case 'setDestination':
      return `~ destination ${serverOf(operation.key, operation.destination)} ${settings({ weight: 1, ...operation.destination })}`;
    case 'editDestination':
      return `~ destination ${serverOf(operation.key, operation.destinationKey)} ${settings(operation.patch)}`;
    case 'removeDestination':
      return `- destination ${serverOf(operation.key, operation.destinationKey)}`;
    case 'zero':
      return `~ counters of ${operation.key === undefined ? 'all services' : nameOf(operation.key)} to zero`;
    case 'flush':
      return '- all services';
    case 'setTimeouts': {
      const { tcpSeconds, tcpFinSeconds, udpSeconds } = operation.timeouts;
      return `~ timeouts${words({ tcp: tcpSeconds, 'tcp-fin': tcpFinSeconds, udp: udpSeconds })}`;
    }
  }
}

function nameOf(key: ServiceKey): string {
  if ('firewallMark' in key) return `mark ${key.firewallMark} ${key.family}`;
  return `${key.protocol} ${endpoint(key.address, key.port)}`;
}

const serverOf = (key: ServiceKey, { address, port }: DestinationKey): string =>
  `${nameOf(key)} -> ${endpoint(address, port)}`;

function scheduling(patch: ServicePatch): string {
  const { schedulerFlags, onePacket } = patch;
  const flags = schedulerFlags?.length ? schedulerFlags.join(',') : undefined;
  const { scheduler = '', rest } = labelled(SERVICE, patch);
  return `${scheduler}${words({ flags })}${rest}${onePacket ? ' one-packet' : ''}`.trim();
}

function settings(patch: DestinationPatch): string {
  const { forward = '', rest } = labelled(DESTINATION, patch);
  return `${forward}${rest}`.trim();
}

/** The settings that are given: those without a label under their names, the others as ' label value' in `rest`. */
function labelled(fields: Pick<typeof DESTINATION, 'settings' | 'valueOf'>, patch: object) {
  const found: Record<string, unknown> & { rest: string } = { rest: '' };
  for (const setting of fields.settings) {
    const value = fields.valueOf(patch, setting);
    if (setting.label === '') found[setting.name] = value;
    else found.rest += words({ [setting.label]: value });
  }
  return found;
}

/** ' name value' of each that is there. */
function words(values: Record<string, unknown>): string {
  return Object.entries(values)
    .map(([name, value]) => (value === undefined ? '' : ` ${name} ${value}`))
    .join('');
}
