/**
 * Session descriptions: reads the fields of this side's own, and writes the remote one
 * from a template. A peer sends fields, each checked by the engine, so nothing it sends
 * reaches the browser's parser but at the places below.
 *
 * Form: RFC 8829 (JSEP) and RFC 8841 (SCTP over DTLS).
 */

/**
 * @typedef {object} Description
 * @property {string} ufrag
 * @property {string} pwd
 * @property {string} fingerprint SHA-256 of the certificate, `AB:CD:…`
 * @property {string} setup
 * @property {number} maxMessageSize in bytes; 0: no limit
 */

/** What an association takes that does not say (RFC 8841, section 6). */
const DEFAULT_MAX_MESSAGE_SIZE = 65_536;

/**
 * Reads a description this side's browser wrote.
 *
 * @param {string} sdp
 * @param {string} fingerprint of the certificate, since a description may name several
 * @returns {Description}
 */
export function readDescription(sdp, fingerprint) {
  const maxMessageSize = attribute(sdp, 'max-message-size');
  return {
    ufrag: required(sdp, 'ice-ufrag'),
    pwd: required(sdp, 'ice-pwd'),
    fingerprint,
    setup: required(sdp, 'setup'),
    maxMessageSize: maxMessageSize === undefined ? DEFAULT_MAX_MESSAGE_SIZE : Number(maxMessageSize),
  };
}

/**
 * The SHA-256 fingerprint of a certificate. Chromium writes it in lower case.
 *
 * @param {RTCCertificate} certificate
 * @returns {string}
 */
export function fingerprintOf(certificate) {
  const found = certificate.getFingerprints().find(({ algorithm }) => algorithm?.toLowerCase() === 'sha-256');
  if (!found?.value) throw new Error('the browser made a certificate without a SHA-256 fingerprint');
  return found.value.toUpperCase();
}

/**
 * Writes the description of the other side.
 *
 * @param {Description} description
 * @returns {string}
 */
export function writeDescription({ ufrag, pwd, fingerprint, setup, maxMessageSize }) {
  return [
    'v=0',
    'o=- 1 1 IN IP4 127.0.0.1',
    's=-',
    't=0 0',
    'a=group:BUNDLE 0',
    'm=application 9 UDP/DTLS/SCTP webrtc-datachannel',
    'c=IN IP4 0.0.0.0',
    `a=ice-ufrag:${ufrag}`,
    `a=ice-pwd:${pwd}`,
    'a=ice-options:trickle',
    `a=fingerprint:sha-256 ${fingerprint}`,
    `a=setup:${setup}`,
    'a=mid:0',
    'a=sctp-port:5000',
    `a=max-message-size:${maxMessageSize}`,
    '',
  ].join('\r\n');
}

/**
 * @param {string} sdp
 * @param {string} name
 */
function attribute(sdp, name) {
  return new RegExp(`^a=${name}:(.*?)\\r?$`, 'm').exec(sdp)?.[1];
}

/**
 * @param {string} sdp
 * @param {string} name
 */
function required(sdp, name) {
  const value = attribute(sdp, name);
  if (value === undefined) throw new Error(`the browser's description has no ${name}`);
  return value;
}
