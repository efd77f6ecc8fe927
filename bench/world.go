package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// world is a server that speaks AWS's protocols, with what an ordinary client of it has:
// a user with ten managed policies one of which allows, a customer key, a role, and
// secrets under the key.
type world struct {
	proc   *process
	root   caller
	user   caller
	key    string // of KMS
	abroad string // a key in the region where secrets are created
	role   string

	reads, writes int // how many secrets there are to read and to write
	serial        int // of writes
	created       int
}

const (
	readPrefix   = "bench/read/"
	writePrefix  = "bench/write/"
	rootPrefix   = "bench/root/"
	createPrefix = "bench/create/"

	// abroad is where CreateSecret is measured: what it leaves would change what lists
	// of the first region have to do.
	abroad = "eu-west-1"

	// writeSecrets are many, so that no secret gathers more versions than an ordinary one.
	writeSecrets = 4000
)

func secretName(prefix string, i int) string { return fmt.Sprintf("%sservice-%05d", prefix, i) }

// secretValue names its secret, so that a wrong answer is noticed.
func secretValue(prefix string, i int) string {
	return fmt.Sprintf(`{"username":"app","password":"of %s, ordinary length"}`, secretName(prefix, i))
}

// newWorld sets the server up. Secrets are made as the load generator makes everything.
func newWorld(ctx context.Context, o options, p *process, reads, writes int) (*world, error) {
	w := &world{proc: p, root: rootOf(p), reads: reads, writes: writes}
	var err error
	if w.key, err = makeKey(w.root); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	far := w.root
	far.region = abroad
	if w.abroad, err = makeKey(far); err != nil {
		return nil, fmt.Errorf("make a key abroad: %w", err)
	}
	if err := w.makeUser(ctx); err != nil {
		return nil, fmt.Errorf("make the user: %w", err)
	}
	if err := w.fill(ctx, o, w.user, readPrefix, w.key, reads); err != nil {
		return nil, fmt.Errorf("create secrets to read: %w", err)
	}
	if err := w.fill(ctx, o, w.user, writePrefix, w.key, writes); err != nil {
		return nil, fmt.Errorf("create secrets to write: %w", err)
	}
	return w, nil
}

func makeKey(c caller) (id string, err error) {
	var made struct{ KeyMetadata struct{ KeyId string } }
	err = c.call(kms, "CreateKey", struct{}{}, &made)
	return made.KeyMetadata.KeyId, err
}

// allowing is the number of the policy that allows; the others are about other things.
const allowing = 6

// policyDocument is one of the ten, of 1 to 3 kB as they are in the field.
func policyDocument(n int) string {
	if n == allowing {
		return `{"Version":"2012-10-17","Statement":[
{"Sid":"Secrets","Effect":"Allow","Action":["secretsmanager:GetSecretValue","secretsmanager:DescribeSecret","secretsmanager:PutSecretValue","secretsmanager:CreateSecret","secretsmanager:TagResource"],"Resource":"arn:aws:secretsmanager:*:*:secret:bench/*"},
{"Sid":"Lists","Effect":"Allow","Action":["secretsmanager:ListSecrets","secretsmanager:BatchGetSecretValue"],"Resource":"*"},
{"Sid":"Keys","Effect":"Allow","Action":["kms:Decrypt","kms:GenerateDataKey"],"Resource":"arn:aws:kms:*:*:key/*"},
{"Sid":"Roles","Effect":"Allow","Action":"sts:AssumeRole","Resource":"arn:aws:iam::*:role/bench"}]}`
	}
	var b strings.Builder
	b.WriteString(`{"Version":"2012-10-17","Statement":[`)
	for i := range 4 + n%5 {
		fmt.Fprintf(&b, `{"Sid":"Secrets%[2]d","Effect":"Allow","Action":["secretsmanager:GetSecretValue","secretsmanager:DescribeSecret"],"Resource":"arn:aws:secretsmanager:*:*:secret:team-%[1]d/service-%[2]d/*"},`, n, i)
		fmt.Fprintf(&b, `{"Sid":"Buckets%[2]d","Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::team-%[1]d-%[2]d","arn:aws:s3:::team-%[1]d-%[2]d/*"],"Condition":{"Bool":{"aws:SecureTransport":"true"}}},`, n, i)
	}
	b.WriteString(`{"Sid":"NoDeletion","Effect":"Deny","Action":"secretsmanager:DeleteSecret","Resource":"*","Condition":{"StringNotEquals":{"aws:PrincipalTag/team":"operations"}}}]}`)
	return b.String()
}

// makeUser makes the caller of all rows, and the role that it assumes.
func (w *world) makeUser(ctx context.Context) error {
	c := iam.NewFromConfig(aws.Config{
		Region: region, BaseEndpoint: aws.String(w.root.url()), HTTPClient: trusting(),
		Credentials: credentials.NewStaticCredentialsProvider(w.root.creds.AccessKeyID, w.root.creds.SecretAccessKey, ""),
	})
	name := aws.String("bench")
	user, err := c.CreateUser(ctx, &iam.CreateUserInput{UserName: name})
	if err != nil {
		return err
	}
	for i := range 10 {
		made, err := c.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("bench-" + strconv.Itoa(i)), PolicyDocument: aws.String(policyDocument(i))})
		if err != nil {
			return err
		}
		if _, err := c.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: name, PolicyArn: made.Policy.Arn}); err != nil {
			return err
		}
	}
	key, err := c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		return err
	}
	account := strings.Split(aws.ToString(user.User.Arn), ":")[4]
	role, err := c.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName:                 name,
		AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + account + `:root"},"Action":"sts:AssumeRole"}}`),
	})
	if err != nil {
		return err
	}
	w.role = aws.ToString(role.Role.Arn)
	w.user = w.root
	w.user.creds = aws.Credentials{AccessKeyID: aws.ToString(key.AccessKey.AccessKeyId), SecretAccessKey: aws.ToString(key.AccessKey.SecretAccessKey)}
	return nil
}

// fill makes count secrets; without a key, under the service's own.
func (w *world) fill(ctx context.Context, o options, c caller, prefix, key string, count int) error {
	reqs := make([][]byte, count)
	for i := range reqs {
		r, err := c.request(secretsManager, "CreateSecret", newSecret(prefix, key, i))
		if err != nil {
			return err
		}
		reqs[i] = r
	}
	if count == 0 {
		return nil
	}
	l := &load{addr: w.proc.addr, tls: w.proc.tls, connections: o.connections, count: int64(count), next: func(n int64) []byte { return reqs[n] }}
	_, err := l.run(ctx)
	return err
}

// newSecret is the input of CreateSecret, with what is filled in as a rule.
func newSecret(prefix, key string, i int) map[string]any {
	in := map[string]any{
		"Name": secretName(prefix, i), "ClientRequestToken": token(), "SecretString": secretValue(prefix, i),
		"Description": "The password of service " + strconv.Itoa(i) + " for its database.",
		"Tags": []map[string]string{
			{"Key": "team", "Value": "team-" + strconv.Itoa(i%10)}, {"Key": "stage", "Value": "production"},
		},
	}
	if key != "" {
		in["KmsKeyId"] = key
	}
	return in
}

// The rows that are requests to a world. Each returns what is sent to it, signed by the
// user unless it says otherwise.

// each signs one request of an operation for every secret that is read.
func (w *world) each(c caller, s service, operation string, in func(i int) any, want func(i int) string) *requests {
	return &requests{sign: func(int) (all []request, err error) {
		for i := range w.reads {
			r, err := c.request(s, operation, in(i))
			if err != nil {
				return nil, err
			}
			all = append(all, request{r, []byte(want(i))})
		}
		return all, nil
	}}
}

// escaped is how a text looks inside of a JSON string.
func escaped(s string) string { return strings.ReplaceAll(s, `"`, `\"`) }

func (w *world) getSecretValue(c caller, prefix string) *requests {
	return w.each(c, secretsManager, "GetSecretValue",
		func(i int) any { return map[string]string{"SecretId": secretName(prefix, i)} },
		func(i int) string { return escaped(secretValue(prefix, i)) })
}

func (w *world) describeSecret() *requests {
	return w.each(w.user, secretsManager, "DescribeSecret",
		func(i int) any { return map[string]string{"SecretId": secretName(readPrefix, i)} },
		func(i int) string { return `"` + secretName(readPrefix, i) + `"` })
}

// batchSize is how many secrets a batch names, AWS's most.
const batchSize = 20

func (w *world) batchGet() *requests {
	return w.each(w.user, secretsManager, "BatchGetSecretValue", func(i int) any {
		ids := make([]string, batchSize)
		for k := range ids {
			ids[k] = secretName(readPrefix, (i+k)%w.reads)
		}
		return map[string]any{"SecretIdList": ids}
	}, func(i int) string { return escaped(secretValue(readPrefix, (i+batchSize-1)%w.reads)) })
}

func (w *world) listSecrets(filters ...any) *requests {
	in := map[string]any{"MaxResults": listPage}
	if len(filters) > 0 {
		in["Filters"] = filters
	}
	return &requests{sign: func(int) ([]request, error) {
		r, err := w.user.request(secretsManager, "ListSecrets", in)
		return []request{{bytes: r}}, err
	}}
}

func filter(key string, values ...string) any {
	return map[string]any{"Key": key, "Values": values}
}

// listPage is the length of a page, AWS's longest.
const listPage = 100

// onceOnly signs so many requests as are asked for, each of its own.
func onceOnly(one func() (request, error)) *requests {
	return &requests{once: true, sign: func(n int) ([]request, error) {
		all := make([]request, n)
		for i := range all {
			var err error
			if all[i], err = one(); err != nil {
				return nil, err
			}
		}
		return all, nil
	}}
}

func (w *world) putSecretValue() *requests {
	return onceOnly(func() (request, error) {
		w.serial++
		id := token()
		r, err := w.user.request(secretsManager, "PutSecretValue", map[string]string{
			"SecretId": secretName(writePrefix, w.serial%w.writes), "ClientRequestToken": id,
			"SecretString": secretValue(writePrefix, w.serial%w.writes),
		})
		return request{r, []byte(id)}, err
	})
}

func (w *world) createSecret() *requests {
	far := w.user
	far.region = abroad
	return onceOnly(func() (request, error) {
		w.created++
		r, err := far.request(secretsManager, "CreateSecret", newSecret(createPrefix, w.abroad, w.created))
		return request{r, []byte(`"` + secretName(createPrefix, w.created) + `"`)}, err
	})
}

func (w *world) assumeRole() *requests {
	return w.each(w.user, sts, "AssumeRole",
		func(i int) any {
			return url.Values{"RoleArn": {w.role}, "RoleSessionName": {"session-" + strconv.Itoa(i)}}
		},
		func(i int) string { return "/session-" + strconv.Itoa(i) + "</Arn>" })
}

func encryptionContext(i int) map[string]string {
	return map[string]string{"object": "bench/" + strconv.Itoa(i)}
}

func (w *world) generateDataKey() *requests {
	return w.each(w.user, kms, "GenerateDataKey", func(i int) any {
		return map[string]any{"KeyId": w.key, "KeySpec": "AES_256", "EncryptionContext": encryptionContext(i)}
	}, func(int) string { return `"CiphertextBlob"` })
}

func (w *world) decrypt() (*requests, error) {
	blobs, plains := make([][]byte, w.reads), make([]string, w.reads)
	for i := range w.reads {
		var made struct {
			CiphertextBlob []byte
			Plaintext      string
		}
		in := map[string]any{"KeyId": w.key, "KeySpec": "AES_256", "EncryptionContext": encryptionContext(i)}
		if err := w.user.call(kms, "GenerateDataKey", in, &made); err != nil {
			return nil, err
		}
		blobs[i], plains[i] = made.CiphertextBlob, made.Plaintext
	}
	return w.each(w.user, kms, "Decrypt", func(i int) any {
		return map[string]any{"CiphertextBlob": blobs[i], "EncryptionContext": encryptionContext(i)}
	}, func(i int) string { return plains[i] }), nil
}
