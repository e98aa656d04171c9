import os from 'node:os';
import { checkObject } from '../codec/index.ts';
import { isArgumentError, isNotFound, NetlinkError, UnsupportedError } from '../errors.ts';
import type { WireCommand, WireDestination, WireService } from '../ip_vs/attributes.ts';
import {
  DESTINATION,
  type Destination,
  type DestinationKey,
  readDestinationSettings,
  type Tunnel,
  tunnelHas,
  writeDestination,
  writeDestinationKey,
} from '../ip_vs/destination.ts';
import { FORWARD } from '../ip_vs/destination-rows.ts';
import { foreignFlags } from '../ip_vs/scheduler-flags.ts';
import {
  type Kept,
  readKey,
  readServiceSettings,
  SERVICE,
  type Service,
  type ServiceKey,
  writeKey,
  writeService,
} from '../ip_vs/service.ts';
import { destinationId, destinationSettings, serviceSettings } from '../ip_vs/wire.ts';
import * as C from '../linux/ip_vs.ts';
import type { Operation } from '../netlink/index.ts';
import { Disturbed, retry } from '../netlink/retry.ts';
import type { Backend, IpvsCommand } from './backends/backend.ts';
import { destinationRequest, keyCommand, serviceCommand } from './backends/requests.ts';
import type { DestinationPatch, Patch, ServicePatch } from './operation-types.ts';
import { readDestinations } from './snapshot.ts';

/* The kernel takes no partial update. So an edit reads, merges, writes, and reads again to see whether another program came in between. */

/**
 * A service with the changes of a patch, and the request that sets it. Fields that the patch does not give stay, even those that another program has
 * set to a value that is refused from a caller. They go if they no longer fit.
 */
export function mergeService(
  current: WireService,
  patch: ServicePatch,
  kept: Kept<WireService> = current,
): { wire: WireService; command: IpvsCommand } {
  const service = readServiceSettings(current);
  const merged = SERVICE.merge(service, patch);
  // The flags of one scheduler mean something else to another.
  if (!('schedulerFlags' in patch) && merged.scheduler !== service.scheduler) {
    merged.schedulerFlags = foreignFlags(service.schedulerFlags);
  }
  const wire = writeService(merged, kept);
  return { wire, command: serviceCommand('SET', merged, { service: wire }) };
}

/** As above, of a destination. */
export function mergeDestination(
  key: ServiceKey,
  service: WireService,
  current: WireDestination,
  patch: DestinationPatch,
  kept: Kept<WireDestination> = current,
): { wire: WireDestination; command: IpvsCommand } {
  const destination = readDestinationSettings(current, service.family);
  const merged = DESTINATION.merge(destination, patch);
  const tunneled = merged.forward === 'tunnel' || merged.forward === FORWARD.tunnel;
  if (!('tunnel' in patch) && !tunneled) delete merged.tunnel;
  if (patch.tunnel && merged.tunnel) dropUnfit(merged.tunnel, destination.tunnel, patch.tunnel);
  const { upperThreshold = 0, lowerThreshold = 0 } = merged;
  if (!('lowerThreshold' in patch) && lowerThreshold > upperThreshold) delete merged.lowerThreshold;
  const wire = writeDestination(key, merged, service.family, kept);
  return { wire, command: destinationRequest('SET', merged, { service, destination: wire }) };
}

/** Takes from a merged tunnel what its new type does not have. */
function dropUnfit(merged: Tunnel, current: Tunnel | undefined, patch: Patch<Tunnel>): void {
  // A tunnel without attributes is IPIP.
  merged.type ??= 'ipip';
  if (merged.type === (current?.type ?? 'ipip')) return;
  const has = tunnelHas(merged);
  if (!('port' in patch) && !has.port) delete merged.port;
  if (!('checksum' in patch) && !has.checksum) delete merged.checksum;
}

export function* editService(backend: Backend, key: ServiceKey, patch: ServicePatch): Operation<void> {
  checkObject(patch, [], SERVICE.changeable);
  const read = keyCommand('GET', key);
  let current = yield* backend.get(read, ({ service }) => service);
  const isDone = () => serviceSettings(mergeService(current, patch).wire) === serviceSettings(current);
  if (isDone()) return;
  yield* retry('the edit of the service', function* () {
    yield* backend.request(mergeService(current, patch).command);
    current = yield* backend.get(read, ({ service }) => service);
    if (!isDone()) throw new Disturbed();
  });
}

export function* editDestination(
  backend: Backend,
  key: ServiceKey,
  destinationKey: DestinationKey,
  patch: DestinationPatch,
): Operation<void> {
  checkObject(patch, [], DESTINATION.changeable);
  const service = writeKey(key);
  const id = destinationId(writeDestinationKey(destinationKey), service.family);
  const find = (entry: WireDestination) => destinationId(entry, service.family) === id;
  const existing = (entry: WireDestination | undefined): WireDestination => {
    if (entry === undefined) throw missingDestination('SET', destinationKey);
    return entry;
  };
  const merge = () => mergeDestination(key, service, current, patch);
  const isDone = () => destinationSettings(merge().wire) === destinationSettings(current);
  let current = existing((yield* readExisting(backend, key)).find(find));
  if (isDone()) return;
  yield* retry(
    'the edit of the destination',
    function* () {
      yield* backend.request(merge().command);
      current = existing((yield* readDestinations(backend, service)).find(find));
      if (!isDone()) throw new Disturbed();
    },
    { exhausted: () => ignoresTunnel(merge().wire, current) },
  );
}

/**
 * A service that replaces the one in the kernel. Values that the kernel holds already are not refused; the kernel is asked only if a value would be
 * refused.
 */
export function* replacement(backend: Backend, service: Service): Operation<WireService> {
  try {
    return writeService(service);
  } catch (error) {
    if (!isArgumentError(error)) throw error;
    const current = yield* findService(backend, writeService(service, 'anything'));
    if (current === undefined) throw error;
    return writeService(service, current);
  }
}

/** As above, of a destination. */
export function* replacementOf(backend: Backend, key: ServiceKey, server: Destination): Operation<WireDestination> {
  const service = writeKey(key);
  try {
    return writeDestination(key, server, service.family);
  } catch (error) {
    if (!isArgumentError(error)) throw error;
    const id = destinationId(writeDestination(key, server, service.family, 'anything'), service.family);
    const current = (yield* readDestinations(backend, service)).find(
      each => destinationId(each, service.family) === id,
    );
    if (current === undefined) throw error;
    return writeDestination(key, server, service.family, current);
  }
}

/** A service as the kernel has it, if there is one. */
export function* findService(backend: Backend, key: WireService): Operation<WireService | undefined> {
  try {
    return yield* backend.get(keyCommand('GET', readKey(key), key), ({ service }) => service);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** The destinations of a service. @throws NetlinkError ESRCH there is no such service; the kernel itself answers with an empty list. */
export function* readExisting(backend: Backend, key: ServiceKey): Operation<WireDestination[]> {
  const destinations = yield* readDestinations(backend, writeKey(key), true);
  if (destinations.length === 0) yield* backend.get(keyCommand('GET', key), ({ service }) => service);
  return destinations;
}

/** The error that the kernel would have given. */
export function missingDestination(
  verb: 'SET' | 'DEL',
  subject: DestinationKey,
  operation = 'ipvs.editDestination',
): NetlinkError {
  const { syscall, hint } = destinationRequest(verb, subject, {});
  return new NetlinkError({ errno: -2, syscall, operation, subject, hint: hint?.('ENOENT', []) });
}

/** Kernels before 5.2 (GUE) and 5.3 (GRE, checksums) ignore the attributes of tunnels without an error, and make a plain IPIP tunnel. */
export function mayIgnoreTunnel({ tunnelType, tunnelPort, tunnelFlags }: WireDestination): boolean {
  if (!tunnelType && !tunnelPort && !tunnelFlags) return false;
  const [major = 0, minor = 0] = os.release().split('.').map(Number);
  return !(major > 5 || (major === 5 && minor >= 3));
}

/** The error if the kernel made a destination without the wanted type of tunnel. */
export function ignoresTunnel(wanted: WireDestination, actual: WireDestination): UnsupportedError | undefined {
  if (!mayIgnoreTunnel(wanted) || destinationSettings(wanted) === destinationSettings(actual)) return undefined;
  const gue = wanted.tunnelType === C.IP_VS_CONN_F_TUNNEL_TYPE_GUE && !wanted.tunnelFlags;
  return new UnsupportedError(
    'this type of tunnel or its checksum',
    gue ? '5.2' : '5.3',
    'it makes a plain IPIP tunnel of it instead',
  );
}

/** Checks that the kernel has made the wanted tunnel. If it has not, `undo` removes the destination again. */
export function* verifyTunnel(
  backend: Backend,
  { service, destination: wanted }: WireCommand,
  undo?: IpvsCommand,
): Operation<void> {
  if (service === undefined || wanted === undefined || !mayIgnoreTunnel(wanted)) return;
  const id = destinationId(wanted, service.family);
  const actual = (yield* readDestinations(backend, service)).find(each => destinationId(each, service.family) === id);
  const error = actual && ignoresTunnel(wanted, actual);
  if (error === undefined) return;
  if (undo !== undefined) yield* backend.request(undo);
  throw error;
}
