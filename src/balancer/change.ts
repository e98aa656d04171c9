import type { LogRule, Redirect } from '../container/index.ts';
import { printable } from '../errors.ts';
import type { IpvsOperation } from '../ipvs/index.ts';

/** Where a change is made: a balancer, or the container of a server. */
export interface ChangePlace {
  /** 'balancer', or 'server'. A container that is both is a balancer. */
  role: 'balancer' | 'server';
  /** The container's id, or the number of its namespace. */
  container: string;
}

/** One change, as data. */
export type BalancerChange = ChangePlace &
  (
    | {
        /** What is changed. */
        kind: 'setting';
        /** Whether it is added, changed or removed. */
        action: 'change';
        /** The name of the setting, as NetNs.sysctl takes it. */
        sysctl: string;
        /** Its value after the change. */
        value: string;
        /** Its value before the change. */
        before: string;
      }
    | {
        kind: 'address';
        action: 'add' | 'remove';
        /** The address with its prefix: '10.10.0.100/32'. */
        address: string;
        /** The name of the device. */
        device: string;
      }
    | { kind: 'device'; action: 'add' | 'change' | 'remove'; device: string }
    | {
        kind: 'route';
        action: 'add' | 'remove';
        /** The gateway of the default route. */
        via: string;
      }
    | {
        kind: 'redirect';
        action: 'add' | 'remove';
        /** The redirect. */
        redirect: Redirect;
      }
    | {
        kind: 'log';
        action: 'add' | 'remove';
        /** The log rule. */
        rule: LogRule;
      }
    | {
        kind: 'rules';
        action: 'add' | 'change' | 'remove';
        /** The name of the library's own table, of the family inet. */
        table: string;
      }
    | {
        kind: 'ipvs';
        action: 'add' | 'change' | 'remove';
        /** The change of a service or a server, as Ipvs.apply takes it. */
        operation: IpvsOperation;
      }
  );

const SIGNS = { add: '+', change: '~', remove: '-' } as const;

/**
 * Changes as text for people, one a line: `+` adds, `~` changes, `-` removes.
 * @param changes a plan, or what `apply` has done
 * @example
 * console.log(formatBalancerPlan(await lb.plan(services)));
 */
export function formatBalancerPlan(changes: readonly BalancerChange[]): string {
  return changes
    .map(change => `${printable(`${SIGNS[change.action]} ${change.role} ${change.container}: ${what(change)}`)}\n`)
    .join('');
}

function what(change: BalancerChange): string {
  switch (change.kind) {
    case 'setting':
      return `${change.sysctl} ${change.before} -> ${change.value}`;
    case 'address':
      return `address ${change.address} ${change.device}`;
    case 'device':
      return `device ${change.device}`;
    case 'route':
      return `default route via ${change.via}`;
    case 'redirect': {
      const { protocol, address, port, toPort } = change.redirect;
      return `redirect ${protocol} ${address ?? 'any'} ${portText(port)}${toPort === undefined ? '' : ` to ${portText(toPort)}`}`;
    }
    case 'log':
      return `log group ${change.rule.group} ${JSON.stringify(change.rule.prefix ?? '')}`;
    case 'rules':
      return `rules in the table inet ${change.table}`;
    case 'ipvs':
      return ipvsText(change.operation);
  }
}

const portText = (port: Redirect['port']): string =>
  typeof port === 'object' ? `${port.from}-${port.to}` : String(port);

function ipvsText(operation: IpvsOperation): string {
  switch (operation.op) {
    case 'addService':
    case 'setService':
      return `service ${serviceText(operation.service)} ${operation.service.scheduler}`;
    case 'removeService':
      return `service ${serviceText(operation.key)}`;
    case 'addDestination':
    case 'setDestination':
      return `server ${serviceText(operation.key)} -> ${operation.destination.address}:${operation.destination.port} weight ${operation.destination.weight ?? 1}`;
    case 'editDestination':
    case 'removeDestination':
      return `server ${serviceText(operation.key)} -> ${operation.destinationKey.address}:${operation.destinationKey.port}`;
    default:
      return operation.op;
  }
}

/** The service as records and texts name it. */
export function serviceText(
  key: { protocol?: unknown; address?: string; port?: number; firewallMark?: number; family?: string } | object,
): string {
  const { protocol, address, port, firewallMark, family } = key as Record<string, unknown>;
  return firewallMark === undefined ? `${protocol} ${address} ${port}` : `mark ${firewallMark} ${family}`;
}
