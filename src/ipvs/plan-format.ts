import { printable } from '../errors.ts';
import type { DestinationKey } from '../ip_vs/destination.ts';
import type { ServiceKey } from '../ip_vs/service.ts';
import { endpoint } from '../ipvsadm/format.ts';
import type { DestinationPatch, IpvsOperation, ServicePatch } from './operation.ts';

/**
 * Operations as text for people, one a line: `+` adds, `~` changes, `-` removes.
 *
 *     + service tcp 10.0.0.1:80 wlc
 *     + destination tcp 10.0.0.1:80 -> 10.1.0.1:80 direct weight 1
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

function scheduling({ scheduler, schedulerFlags, persistence, onePacket }: ServicePatch): string {
  const { timeoutSeconds, netmask, engine } = persistence ?? {};
  const flags = schedulerFlags?.length ? schedulerFlags.join(',') : undefined;
  const rest = words({ flags, persistent: timeoutSeconds, mask: netmask, engine });
  return `${scheduler ?? ''}${rest}${onePacket ? ' one-packet' : ''}`.trim();
}

function settings({ forward, weight, upperThreshold, lowerThreshold, tunnel }: DestinationPatch): string {
  const { type, port, checksum } = tunnel ?? {};
  const thresholds = { weight, upper: upperThreshold, lower: lowerThreshold };
  return `${forward ?? ''}${words({ type, port, checksum, ...thresholds })}`.trim();
}

/** ' name value' of each that is there. */
function words(values: Record<string, unknown>): string {
  return Object.entries(values)
    .map(([name, value]) => (value === undefined ? '' : ` ${name} ${value}`))
    .join('');
}
