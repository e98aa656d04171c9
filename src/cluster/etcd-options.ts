import { checkInteger, checkObject, checkString } from '../codec/index.ts';
import { type Path, rangeError, typeError } from '../errors.ts';

/** Where etcd is, and who asks. */
export interface EtcdOptions {
  /** Its members: 'https://10.0.0.1:2379'. Each call takes the next one after a failure. */
  endpoints: readonly string[];
  /** A user of etcd, where its authentication is on. */
  auth?: {
    /** The name. */
    username: string;
    /** The password. It is never logged, and is in no error. */
    password: string;
  };
  /** For https. */
  tls?: {
    /** Certificates of the authorities that are trusted, as PEM. Default: those of Node. */
    ca?: string;
    /** The client's certificate, as PEM. */
    cert?: string;
    /** The client's key, as PEM. */
    key?: string;
    /** The name that the member's certificate must have. Default: the endpoint's host. */
    serverName?: string;
  };
  /** How long one call may take, in milliseconds: 100 to 60,000, default 1000. */
  timeoutMs?: number;
}

/** @throws TypeError, RangeError with the path */
export function checkEtcd(etcd: EtcdOptions, path: Path): Required<Pick<EtcdOptions, 'timeoutMs'>> & EtcdOptions {
  checkObject(etcd, path, ['endpoints', 'auth', 'tls', 'timeoutMs']);
  const { endpoints, auth, tls, timeoutMs = 1000 } = etcd;
  if (!Array.isArray(endpoints)) throw typeError([...path, 'endpoints'], 'an array of URLs', endpoints);
  if (endpoints.length === 0) throw rangeError([...path, 'endpoints'], 'at least one URL', endpoints);
  for (const [i, endpoint] of endpoints.entries()) {
    checkString(endpoint, [...path, 'endpoints', i], 255);
    if (!URL.canParse(endpoint) || !/^https?:\/\/[^/@?#]+\/?$/.test(endpoint))
      throw rangeError(
        [...path, 'endpoints', i],
        "a URL of scheme, host and port, such as 'http://127.0.0.1:2379'",
        endpoint,
      );
  }
  if (auth !== undefined) {
    checkObject(auth, [...path, 'auth'], ['username', 'password']);
    checkString(auth.username, [...path, 'auth', 'username'], 255);
    if (typeof auth.password !== 'string')
      throw typeError([...path, 'auth', 'password'], 'a string', typeof auth.password);
  }
  if (tls !== undefined) {
    checkObject(tls, [...path, 'tls'], ['ca', 'cert', 'key', 'serverName']);
    for (const name of ['ca', 'cert', 'key', 'serverName'] as const)
      if (tls[name] !== undefined && typeof tls[name] !== 'string')
        throw typeError([...path, 'tls', name], 'a string', typeof tls[name]);
    if ((tls.cert === undefined) !== (tls.key === undefined))
      throw typeError([...path, 'tls'], '`cert` and `key` together', Object.keys(tls));
  }
  checkInteger(timeoutMs, [...path, 'timeoutMs'], 100, 60_000);
  return { ...etcd, timeoutMs };
}
