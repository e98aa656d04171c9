import { rangeError, within } from '../errors.ts';
import {
  type ClusterService,
  checkClusterService,
  checkHostName,
  conflictOf,
  fromStored,
  toStored,
} from './declaration.ts';
import { type Etcd, EtcdError } from './etcd.ts';
import { follow } from './keys.ts';

/** A service with the revision at which it was last put. */
export interface StoredService {
  /** The service. */
  service: ClusterService;
  /** Pass it to `put` or `delete`, to change what was read and nothing newer. */
  revision: bigint;
}

/** A change of the declared services. */
export type ServiceChange =
  | {
      /** What has happened; 'bad': the stored value is no service that this version knows. */
      type: 'put';
      /** The name of the service. */
      name: string;
      /** The service. */
      service: ClusterService;
      /** The revision of etcd at which it was changed. */
      revision: bigint;
    }
  | { type: 'delete'; name: string; revision: bigint }
  | {
      type: 'bad';
      name: string;
      /** Why it is no service. */
      error: Error;
      revision: bigint;
    };

/** The condition of a change. */
export interface ChangeOptions {
  /** The revision that the service was read at; 0n: it must not be there. Default: whatever is there. */
  revision?: bigint;
}

/**
 * The declared services of a cluster, in etcd. Any host, and any program, may change them.
 * @example
 * await cluster.services.put(clusterService);
 */
export class ClusterServices {
  readonly #etcd: Etcd;
  readonly #prefix: string;

  /** @internal */
  constructor(etcd: Etcd, prefix: string) {
    this.#etcd = etcd;
    this.#prefix = `${prefix}/services/`;
  }

  /**
   * Declares a service, or declares it anew. Every host then does its part.
   * @param service the service
   * @param options the revision that it must have
   * @returns its new revision
   * @throws TypeError, RangeError with the path; nothing is put. Also where another service has its address and port, or shares its address and
   * has other balancers
   * @throws EtcdError ERR_CONFLICT somebody else has changed it since `revision`. Other EtcdErrors: it may have been put, read it again
   * @example
   * await cluster.services.put(clusterService);
   */
  async put(service: ClusterService, options: ChangeOptions = {}): Promise<bigint> {
    checkClusterService(service);
    await this.#refuseConflict(service);
    const key = this.#key(service.name);
    return this.#change(key, options, { put: key, value: toStored(service) });
  }

  /**
   * Takes a service back.
   * @param name its name
   * @param options the revision that it must have
   * @returns the revision of the deletion
   * @throws EtcdError ERR_CONFLICT somebody else has changed it since `revision`
   * @example
   * await cluster.services.delete('web');
   */
  async delete(name: string, options: ChangeOptions = {}): Promise<bigint> {
    const key = this.#key(checkHostName(name, ['name']));
    return this.#change(key, options, { delete: key });
  }

  /** Two writers at once can still put services that are at odds: every host then programs the older one. */
  async #refuseConflict(service: ClusterService): Promise<void> {
    for (const { service: other } of await this.list()) {
      const error = other.name === service.name ? undefined : conflictOf(service, other);
      if (error !== undefined) throw error;
    }
  }

  async #change(
    key: string,
    { revision }: ChangeOptions,
    step: { put: string; value: string } | { delete: string },
  ): Promise<bigint> {
    if (revision !== undefined && typeof revision !== 'bigint')
      throw rangeError(['options', 'revision'], 'a bigint', revision);
    const result = await this.#etcd.transaction(
      revision === undefined ? [] : [{ key, target: 'mod', revision }],
      [step],
      { once: revision !== undefined },
    );
    if (!result.succeeded)
      throw new EtcdError(`ERR_CONFLICT: ${key} was changed since revision ${revision}: read it again`);
    return result.revision;
  }

  /**
   * All services. What is stored and is no service is left out; `cluster.status()` names it.
   * @example
   * for (const { service, revision } of await cluster.services.list()) console.log(service.name, revision);
   */
  async list(): Promise<StoredService[]> {
    const { entries } = await this.#etcd.range(this.#prefix);
    return entries.flatMap(({ key, value, modRevision }) => {
      const change = this.#read(key, value, modRevision);
      return change.type === 'put' ? [{ service: change.service, revision: change.revision }] : [];
    });
  }

  #read(key: string, value: string, revision: bigint): ServiceChange {
    const name = key.slice(this.#prefix.length);
    try {
      return { type: 'put', name, service: fromStored(value, name), revision };
    } catch (error) {
      return { type: 'bad', name, error: within(error, [name]) as Error, revision };
    }
  }

  /**
   * The services that there are, and then each change, until the signal aborts. It goes on over lost connections and compactions: a service that
   * went meanwhile is told as deleted.
   * @throws EtcdError etcd does not answer at the beginning
   * @param options `signal`
   * @example
   * const { signal } = new AbortController();
   * for await (const change of cluster.services.watch({ signal })) console.log(change.type, change.name);
   */
  async *watch({
    signal,
  }: {
    /** Ends the loop. */
    signal: AbortSignal;
  }): AsyncGenerator<ServiceChange> {
    let hasBegun = false;
    const groups = follow(this.#etcd, this.#prefix, signal, error => {
      if (!hasBegun) throw error;
    });
    for await (const changes of groups) {
      hasBegun = true;
      for (const { key, entry, revision } of changes)
        yield entry === undefined
          ? { type: 'delete', name: key.slice(this.#prefix.length), revision }
          : this.#read(key, entry.value, entry.modRevision);
    }
  }

  #key(name: string): string {
    return `${this.#prefix}${name}`;
  }
}
