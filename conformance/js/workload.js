// A workload as it runs in a cluster or a pipeline: no credentials of its own, only
// what its environment names, be it a token and a role or a profile. It reads the
// secret that ARCA_SECRET names, twice, and prints who it is and what it has read as
// one JSON object. Run by the Go tests.
import { GetSecretValueCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";

const client = new SecretsManagerClient();
const values = [];
for (let i = 0; i < 2; i++) {
  const { SecretString } = await client.send(new GetSecretValueCommand({ SecretId: process.env.ARCA_SECRET }));
  values.push(SecretString);
}
const { accessKeyId, expiration } = await client.config.credentials();
console.log(JSON.stringify({ values, accessKeyId, expiration }));
