package rootkey_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"arca/internal/apptest"
	"arca/internal/envelope"
	"arca/internal/rootkey"
)

// keeper is another Arca, whose KMS holds the key that root keys are wrapped with.
type keeper struct {
	t   *testing.T
	url string
	cfg aws.Config
	kms *kms.Client
	arn string // of the key
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	s := apptest.New(t)
	k := &keeper{t: t, url: s.URL, cfg: s.Config(), kms: kms.NewFromConfig(s.Config())}
	k.arn = k.key()
	environment(t)
	k.as("test", "test", "")
	return k
}

// environment is one where the SDK finds nothing that the test has not put there, and
// a default endpoint that must not be used.
func environment(t *testing.T) {
	t.Helper()
	none := filepath.Join(t.TempDir(), "none")
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_CA_BUNDLE": "",
		"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_KMS": "http://127.0.0.1:1",
	} {
		t.Setenv(name, value)
	}
}

// as makes the SDK find these credentials.
func (k *keeper) as(id, secret, token string) {
	k.t.Setenv("AWS_ACCESS_KEY_ID", id)
	k.t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	k.t.Setenv("AWS_SESSION_TOKEN", token)
}

func (k *keeper) key() (arn string) {
	k.t.Helper()
	out, err := k.kms.CreateKey(k.t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		k.t.Fatal(err)
	}
	return aws.ToString(out.KeyMetadata.Arn)
}

// root is a root key under a key of the keeper's.
func (k *keeper) root(keyID string) *rootkey.KMS {
	return rootkey.NewKMS(rootkey.KMSConfig{KeyID: keyID, Region: "us-east-1", Endpoint: k.url})
}

func must(t *testing.T) func(_ any, err error) {
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestKMS(t *testing.T) {
	k := newKeeper(t)
	r := k.root(k.arn)
	if r.Kind() != "kms" {
		t.Errorf("Kind = %q", r.Kind())
	}
	first, firstParams := create(t, r)
	second, secondParams := renew(t, r)
	if same(first, second) || first.Secret().Equal(second.Secret()) {
		t.Fatal("Renew returns the key in use")
	}
	secret := first.Secret()
	for _, form := range [][]byte{secret.Bytes(), []byte(base64.StdEncoding.EncodeToString(secret.Bytes()))} {
		if bytes.Contains(firstParams, form) {
			t.Error("the parameters hold the root key")
		}
	}
	for _, want := range []string{k.arn, "us-east-1", first.ID().String()} {
		if !strings.Contains(string(firstParams), want) {
			t.Errorf("parameters = %s, want %s in them", firstParams, want)
		}
	}
	adopt(t, r, secondParams, firstParams)
	r.Wipe()
	must(t)(k.kms.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/arca"), TargetKeyId: aws.String(k.arn)}))
	id := k.arn[strings.LastIndex(k.arn, "/")+1:]
	for _, name := range []string{k.arn, id, "alias/arca", "arn:aws:kms:us-east-1:000000000000:alias/arca"} {
		opens(t, k.root(name), firstParams, first)
		opens(t, k.root(name), secondParams, second)
	}
	// The keeper may rotate its key as often as it likes.
	must(t)(k.kms.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: aws.String(id)}))
	opens(t, r, firstParams, first)
	third, thirdParams := renew(t, r)
	opens(t, r, thirdParams, third)
	if err := r.Destroy(t.Context(), firstParams); !errors.Is(err, rootkey.ErrCannotDestroy) || !strings.Contains(err.Error(), "older copies") {
		t.Errorf("Destroy = %v, want ErrCannotDestroy that says what to do", err)
	}
}

// Least privilege is enough, and what is missing is named.
func TestKMSRole(t *testing.T) {
	k := newKeeper(t)
	users, sessions := iam.NewFromConfig(k.cfg), sts.NewFromConfig(k.cfg)
	assume := func(name, policy string) {
		t.Helper()
		trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:AssumeRole"}]}`
		must(t)(users.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust}))
		must(t)(users.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: &name, PolicyDocument: &policy}))
		// Roots cannot assume roles: an administrator does.
		admin := name + "-admin"
		must(t)(users.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &admin}))
		all := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
		must(t)(users.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &admin, PolicyName: &admin, PolicyDocument: &all}))
		key, err := users.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &admin})
		must(t)(key, err)
		out, err := sessions.AssumeRole(t.Context(), &sts.AssumeRoleInput{
			RoleArn: aws.String("arn:aws:iam::000000000000:role/" + name), RoleSessionName: aws.String("arca"),
		}, func(o *sts.Options) {
			o.Credentials = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: *key.AccessKey.AccessKeyId, SecretAccessKey: *key.AccessKey.SecretAccessKey}, nil
			}))
		})
		must(t)(out, err)
		k.as(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	}
	r := k.root(k.arn)
	assume("keeper", fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:Decrypt","kms:GenerateDataKey"],"Resource":%q,
		"Condition":{"Null":{"kms:EncryptionContext:arca:deployment-root-key":"false"}}}]}`, k.arn))
	key, params := create(t, r)
	opens(t, r, params, key)

	assume("reader", fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Decrypt","Resource":%q}]}`, k.arn))
	opens(t, r, params, key)
	_, _, err := r.Renew(t.Context())
	refusal(t, err, nil, "may not use the key", "kms:GenerateDataKey", k.arn)

	assume("nobody", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:ListKeys","Resource":"*"}]}`)
	_, err = r.Open(t.Context(), params)
	refusal(t, err, nil, "may not use the key", "kms:Decrypt", k.arn)
}

// refusal expects an error for people: of this kind, on one line, with these words,
// and one that waiting does not help unless is says so.
func refusal(t *testing.T, err, is error, words ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	if is != nil && !errors.Is(err, is) {
		t.Errorf("error %v, want %v", err, is)
	}
	if errors.Is(err, rootkey.ErrUnreachable) != (is == rootkey.ErrUnreachable) {
		t.Errorf("error %v: unreachable = %t", err, errors.Is(err, rootkey.ErrUnreachable))
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error has several lines: %v", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q, want %q in it", err, w)
		}
	}
}

func TestKMSKeyState(t *testing.T) {
	k := newKeeper(t)
	r := k.root(k.arn)
	key, params := create(t, r)
	must(t)(k.kms.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &k.arn}))
	_, err := r.Open(t.Context(), params)
	refusal(t, err, nil, "is disabled; enable it", k.arn, k.url)
	_, _, err = r.Renew(t.Context())
	refusal(t, err, nil, "is disabled; enable it")
	must(t)(k.kms.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &k.arn}))
	opens(t, r, params, key)

	must(t)(k.kms.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &k.arn}))
	_, err = r.Open(t.Context(), params)
	refusal(t, err, nil, "cancel its deletion")
	must(t)(k.kms.CancelKeyDeletion(t.Context(), &kms.CancelKeyDeletionInput{KeyId: &k.arn}))
	must(t)(k.kms.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: &k.arn}))
	opens(t, r, params, key)
}

func TestKMSOtherKey(t *testing.T) {
	k := newKeeper(t)
	r := k.root(k.arn)
	key, params := create(t, r)
	_, err := k.root(k.key()).Open(t.Context(), params)
	refusal(t, err, rootkey.ErrMismatch, "this store was sealed with "+k.arn, "root_key.key_id")

	_, err = k.root("arn:aws:kms:us-east-1:000000000000:key/11111111-2222-4333-8444-555555555555").Open(t.Context(), params)
	refusal(t, err, rootkey.ErrMissing, "there is no such key", k.arn)
	_, _, err = k.root("alias/nothing").Create(t.Context())
	refusal(t, err, nil, "there is no such key", "root_key.key_id")
	// A key of an account that lets nobody in.
	_, err = k.root("arn:aws:kms:us-east-1:111111111111:key/11111111-2222-4333-8444-555555555555").Open(t.Context(), params)
	refusal(t, err, nil, "may not use the key")

	// The same configuration, and another KMS behind it: it has neither key nor data.
	stranger := newKeeper(t)
	_, err = stranger.root(k.arn).Open(t.Context(), params)
	refusal(t, err, rootkey.ErrMissing, "there is no such key")
	_, err = stranger.root(stranger.arn).Open(t.Context(), params)
	refusal(t, err, rootkey.ErrMismatch, "root_key")
	opens(t, r, params, key)
}

// Whoever can write beside the data cannot exchange the root key.
func TestKMSParams(t *testing.T) {
	k := newKeeper(t)
	r := k.root(k.arn)
	_, params := create(t, r)
	_, others := create(t, r)
	change := func(fn func(v map[string]any)) []byte {
		var v map[string]any
		if err := json.Unmarshal(params, &v); err != nil {
			t.Fatal(err)
		}
		fn(v)
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	var other map[string]any
	if err := json.Unmarshal(others, &other); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		params []byte
		is     error
	}{
		{"id of another root key", change(func(v map[string]any) { v["id"] = envelope.NewKeyID().String() }), rootkey.ErrMismatch},
		{"another root key of this KMS key", change(func(v map[string]any) { v["data_key"] = other["data_key"] }), rootkey.ErrMismatch},
		{"cut", change(func(v map[string]any) { v["data_key"] = "AQID" }), rootkey.ErrMismatch},
		{"empty", change(func(v map[string]any) { v["data_key"] = "" }), nil},
		{"far too long", change(func(v map[string]any) { v["data_key"] = strings.Repeat("A", 9000) }), nil},
		{"unknown member", change(func(v map[string]any) { v["endpoint"] = "https://mine.example" }), nil},
		{"other format", change(func(v map[string]any) { v["format"] = 2 }), nil},
		{"none", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := r.Open(t.Context(), tt.params)
			refusal(t, err, tt.is)
		})
	}
	// Names for people decide nothing.
	named := change(func(v map[string]any) { v["key"], v["region"] = "arn:aws:kms:eu-west-1:1:key/mine", "eu-west-1" })
	if _, err := r.Open(t.Context(), named); err != nil {
		t.Errorf("Open = %v", err)
	}
}

func TestKMSUnreachable(t *testing.T) {
	k := newKeeper(t)
	_, params := create(t, k.root(k.arn))
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		waits   bool
	}{
		{"hangs", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the client is gone
			<-r.Context().Done()
		}, true},
		{"bad gateway", answer(http.StatusBadGateway, "<html>"), true},
		{"KMS is broken", answer(http.StatusInternalServerError, `{"__type":"KMSInternalException","message":"x"}`), true},
		{"throttled", answer(http.StatusBadRequest, `{"__type":"ThrottlingException","message":"x"}`), true},
		{"too many requests", answer(http.StatusTooManyRequests, ""), true},
		{"cut off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true},
		{"not a KMS", answer(http.StatusNotFound, "<html>not found"), false},
		{"an answer without a key", answer(http.StatusOK, `{}`), false},
		{"a short key", answer(http.StatusOK, `{"Plaintext":"AAAA","CiphertextBlob":"AAAA"}`), false},
		{"unknown code", answer(http.StatusBadRequest, `{"__type":"NewException","message":"x"}`), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(tt.handler)
			defer s.Close()
			r := rootkey.NewKMS(rootkey.KMSConfig{KeyID: k.arn, Region: "us-east-1", Endpoint: s.URL, Timeout: 400 * time.Millisecond})
			var is error
			if tt.waits {
				is = rootkey.ErrUnreachable
			}
			_, err := r.Open(t.Context(), params)
			refusal(t, err, is)
			_, _, err = r.Create(t.Context())
			refusal(t, err, is)
		})
	}
	t.Run("gone", func(t *testing.T) {
		s := httptest.NewServer(nil)
		s.Close()
		r := rootkey.NewKMS(rootkey.KMSConfig{KeyID: k.arn, Region: "us-east-1", Endpoint: s.URL})
		_, err := r.Open(t.Context(), params)
		refusal(t, err, rootkey.ErrUnreachable, s.URL)
	})
	t.Run("stopped", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := k.root(k.arn).Open(ctx, params)
		if !errors.Is(err, context.Canceled) || errors.Is(err, rootkey.ErrUnreachable) {
			t.Errorf("Open = %v, want context.Canceled", err)
		}
	})
}

// An authority of one's own is trusted only when it is named.
func TestKMSCertificate(t *testing.T) {
	k := newKeeper(t)
	key, params := create(t, k.root(k.arn))
	to, err := url.Parse(k.url)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // it is signed
	}})
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	cfg := rootkey.KMSConfig{KeyID: k.arn, Endpoint: s.URL, Region: "us-east-1"}
	_, err = rootkey.NewKMS(cfg).Open(t.Context(), params)
	refusal(t, err, nil, "not trusted", "root_key.ca_file")

	cfg.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	refusal(t, rootkey.NewKMS(cfg).Check(), nil, "read root_key.ca_file")
	put(t, cfg.CAFile, "hello")
	refusal(t, rootkey.NewKMS(cfg).Check(), nil, "holds no certificate")
	put(t, cfg.CAFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	if err := rootkey.NewKMS(cfg).Check(); err != nil {
		t.Error(err)
	}
	opens(t, rootkey.NewKMS(cfg), params, key)
}

func TestKMSCredentials(t *testing.T) {
	k := newKeeper(t)
	r := k.root(k.arn)
	key, params := create(t, r)
	k.as("test", "wrong", "")
	_, err := r.Open(t.Context(), params)
	refusal(t, err, nil, "credentials are not accepted")
	k.as("", "", "")
	_, err = r.Open(t.Context(), params)
	refusal(t, err, nil, "no credentials", "root_key.profile")

	file := filepath.Join(t.TempDir(), "credentials")
	put(t, file, "[root]\naws_access_key_id = test\naws_secret_access_key = test\n")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	named := rootkey.KMSConfig{KeyID: k.arn, Endpoint: k.url, Region: "us-east-1", Profile: "root"}
	opens(t, rootkey.NewKMS(named), params, key)
	named.Profile = "other"
	_, err = rootkey.NewKMS(named).Open(t.Context(), params)
	refusal(t, err, nil, "other")

	named.Profile, named.Region = "root", ""
	_, err = rootkey.NewKMS(named).Open(t.Context(), params)
	refusal(t, err, nil, "root_key.region")
}

// A server whose environment leads clients to itself must not ask itself for its root
// key.
func TestKMSIgnoresEndpointOfEnvironment(t *testing.T) {
	environment(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	r := rootkey.NewKMS(rootkey.KMSConfig{KeyID: "alias/arca", Region: "us-east-1"})
	if got, err := rootkey.KMSEndpoint(t.Context(), r); err != nil || got != nil {
		t.Errorf("endpoint = %v, %v, want AWS's", aws.ToString(got), err)
	}
}
