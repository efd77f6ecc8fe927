package rootkey

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"arca/internal/envelope"
)

const (
	// kmsContextKey is the name in the encryption context of every root key: the KMS and
	// its key policies can tell root keys from everything else.
	kmsContextKey = "arca:deployment-root-key"
	// defaultKMSTimeout is for one call with its second attempt.
	defaultKMSTimeout = 15 * time.Second
	maxKMSBlobBytes   = 6144 // of the API
)

// KMSConfig says which key of which service wraps root keys. Credentials come from
// where the AWS SDK looks for them.
type KMSConfig struct {
	// KeyID is an id, ARN or alias, as GenerateDataKey and Decrypt take it. Required.
	KeyID string
	// Region is the region of the service; "" leaves it to the SDK.
	Region string
	// Endpoint is the URL of a service other than AWS's own; "" means that, whatever the
	// environment says: what clients of this server use must not lead it to itself.
	Endpoint string
	// CAFile holds PEM certificates to trust besides the system's; "" means none.
	CAFile string
	// Profile is one of the SDK's configuration files; "" means the default.
	Profile string
	// Timeout is for one call; 0 means 15 seconds.
	Timeout time.Duration
}

// KMS has the root key wrapped by a key of AWS KMS, or of any service that speaks its
// API: the wrapped key is in the parameters, the key that opens it never leaves the
// service. It takes kms:GenerateDataKey to make a root key and kms:Decrypt to open it.
// Nothing is held in memory between calls. It may be used concurrently.
//
// Which key may open parameters is said by the configuration, not by them.
type KMS struct {
	cfg KMSConfig
}

var _ Provider = (*KMS)(nil)

// NewKMS returns the root key under the key of a KMS. It connects to nothing yet.
func NewKMS(cfg KMSConfig) *KMS {
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultKMSTimeout
	}
	return &KMS{cfg: cfg}
}

type kmsParams struct {
	Format int    `json:"format"`
	ID     textID `json:"id"`
	// Key and Region are for people: where the root key can be opened.
	Key    string `json:"key"`
	Region string `json:"region"`
	// DataKey is the root key as GenerateDataKey wrapped it.
	DataKey []byte `json:"data_key"`
}

// Kind returns "kms".
func (k *KMS) Kind() string { return KindKMS }

// Wipe does nothing: a KMS holds no secret between calls.
func (k *KMS) Wipe() {}

// Check reads the files that the configuration names, and calls nobody.
func (k *KMS) Check() error {
	_, err := k.roots()
	return err
}

// Create has the service make a root key. One that no store came to use is in nobody's
// way: it is kept nowhere.
func (k *KMS) Create(ctx context.Context) (key *envelope.Key, params []byte, err error) {
	v := kmsParams{Format: paramsFormat, ID: textID(envelope.NewKeyID())}
	err = k.call(ctx, func(ctx context.Context, c *kms.Client) error {
		out, err := c.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
			KeyId: aws.String(k.cfg.KeyID), KeySpec: types.DataKeySpecAes256, EncryptionContext: v.context(),
		})
		if err != nil {
			return k.explain("generate a root key", "", err)
		}
		defer clear(out.Plaintext) // the SDK's copies in the answer are out of reach
		v.Key, v.Region, v.DataKey = aws.ToString(out.KeyId), c.Options().Region, out.CiphertextBlob
		if err := v.check(); err != nil {
			return fmt.Errorf("generate a root key with the KMS: %w", err)
		}
		key, err = envelope.NewKey(envelope.KeyID(v.ID), rootVersion, out.Plaintext)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	params, err = encodeParams(key, v)
	if err != nil {
		return nil, nil, err
	}
	return key, params, nil
}

// Renew has the service make another root key, under the key that the configuration
// names now.
func (k *KMS) Renew(ctx context.Context) (key *envelope.Key, params []byte, err error) {
	return k.Create(ctx)
}

// Adopt does nothing: a root key is in its parameters.
func (k *KMS) Adopt(context.Context, []byte, []byte) error { return nil }

// Destroy refuses with ErrCannotDestroy.
func (k *KMS) Destroy(context.Context, []byte) error { return cannotDestroy(KindKMS) }

// Open has the service decrypt the root key. The error wraps ErrUnreachable if the
// service could not be asked, and ErrMismatch if it was asked with another key.
func (k *KMS) Open(ctx context.Context, params []byte) (key *envelope.Key, err error) {
	v, err := decodeKMSParams(params)
	if err != nil {
		return nil, err
	}
	err = k.call(ctx, func(ctx context.Context, c *kms.Client) error {
		out, err := c.Decrypt(ctx, &kms.DecryptInput{
			KeyId: aws.String(k.cfg.KeyID), CiphertextBlob: v.DataKey, EncryptionContext: v.context(),
		})
		if err != nil {
			return k.explain("open the root key", v.Key, err)
		}
		defer clear(out.Plaintext)
		key, err = envelope.NewKey(envelope.KeyID(v.ID), rootVersion, out.Plaintext)
		if err != nil {
			return fmt.Errorf("open the root key with the KMS: %w", err)
		}
		return nil
	})
	return key, err
}

func decodeKMSParams(params []byte) (v kmsParams, err error) {
	if err := decodeParams(params, maxKMSParamsBytes, &v); err != nil {
		return v, err
	}
	if err := checkParamsFormat(v.Format); err != nil {
		return v, err
	}
	if err := v.check(); err != nil {
		return v, fmt.Errorf("read root key parameters: %w", err)
	}
	return v, nil
}

func (v kmsParams) context() map[string]string {
	return map[string]string{kmsContextKey: envelope.KeyID(v.ID).String()}
}

func (v kmsParams) check() error {
	if n := len(v.DataKey); n == 0 || n > maxKMSBlobBytes {
		return fmt.Errorf("wrapped root key of %d bytes is not in 1..%d", n, maxKMSBlobBytes)
	}
	if len(v.Key) > 2048 || len(v.Region) > 64 {
		return errors.New("name of the KMS key is too long")
	}
	return nil
}

// call runs fn with a client, for as long as one call may take.
func (k *KMS) call(ctx context.Context, fn func(ctx context.Context, c *kms.Client) error) error {
	timed, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	err := k.connect(timed, fn)
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // somebody gave up, which says nothing about the service
	}
	return err
}

func (k *KMS) connect(ctx context.Context, fn func(ctx context.Context, c *kms.Client) error) error {
	roots, err := k.roots()
	if err != nil {
		return err
	}
	options := []func(*config.LoadOptions) error{
		config.WithRetryMaxAttempts(2),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.TLSClientConfig.RootCAs = roots
			t.DisableKeepAlives = true // a client is used once
		})),
	}
	if k.cfg.Region != "" {
		options = append(options, config.WithRegion(k.cfg.Region))
	}
	if k.cfg.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(k.cfg.Profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return fmt.Errorf("read the AWS configuration for the root key: %w", err)
	}
	if cfg.Region == "" {
		return errors.New("the region of the root key's KMS is not known: set root_key.region")
	}
	// Asked for here, so that what is wrong with them is told apart from what the
	// service answers.
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		if isTransport(err) {
			return fmt.Errorf("%w: no credentials for its KMS: %w", ErrUnreachable, err)
		}
		return fmt.Errorf("no credentials for the root key's KMS: give them by the environment, a shared configuration file (root_key.profile) or the role of this machine: %w", err)
	}
	return fn(ctx, kms.NewFromConfig(cfg, func(o *kms.Options) {
		o.BaseEndpoint = nil
		if k.cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(k.cfg.Endpoint)
		}
	}))
}

// roots are the authorities that may vouch for the service.
func (k *KMS) roots() (*x509.CertPool, error) {
	if k.cfg.CAFile == "" {
		return nil, nil //nolint:nilnil // nil is the system's pool
	}
	pem, err := os.ReadFile(k.cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read root_key.ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("load the system's certificates: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("root_key.ca_file: %s holds no certificate", k.cfg.CAFile)
	}
	return pool, nil
}

// service names the KMS in errors.
func (k *KMS) service() string {
	if k.cfg.Endpoint != "" {
		return "the KMS at " + k.cfg.Endpoint
	}
	return "AWS KMS"
}

// explain turns what a call came back with into what the operator can do. wrapping is
// the ARN of the key that the root key was wrapped with, "" when it is being made.
func (k *KMS) explain(attempt, wrapping string, err error) error {
	say := func(kind error, format string, args ...any) error {
		text := fmt.Sprintf("%s with key %s of %s: ", attempt, k.cfg.KeyID, k.service()) + fmt.Sprintf(format, args...)
		if kind != nil {
			return fmt.Errorf("%w: %s: %w", kind, text, err)
		}
		return fmt.Errorf("%s: %w", text, err)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return say(nil, "its certificate is not trusted; name the authority in root_key.ca_file")
	}
	answer, isAnswer := errors.AsType[smithy.APIError](err)
	if !isAnswer {
		if isTransport(err) {
			return say(ErrUnreachable, "no answer")
		}
		return say(nil, "the answer is not one of a KMS")
	}
	switch answer.ErrorCode() {
	case "DisabledException":
		return say(nil, "the key is disabled; enable it")
	case "KMSInvalidStateException":
		return say(nil, "the key is not in a state to be used; cancel its deletion, or finish what it waits for")
	case "AccessDeniedException":
		return say(nil, "the caller may not use the key; it needs kms:Decrypt and kms:GenerateDataKey")
	case "NotFoundException":
		if wrapping != "" {
			return say(ErrMissing, "there is no such key; the data of this store cannot be read without %s", wrapping)
		}
		return say(nil, "there is no such key; see root_key.key_id and root_key.region")
	case "IncorrectKeyException":
		return say(ErrMismatch, "this store was sealed with %s; name that in root_key.key_id", wrapping)
	case "InvalidCiphertextException":
		return say(ErrMismatch, "the wrapped root key does not open; it is of another KMS (it was made with %s), or the parameters beside the data were changed", wrapping)
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch",
		"IncompleteSignature", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "ExpiredTokenException", "ExpiredToken":
		return say(nil, "the credentials are not accepted")
	case "KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException", "InternalFailure", "InternalServerError",
		"ServiceUnavailable", "ServiceUnavailableException", "ThrottlingException", "Throttling", "RequestTimeout", "LimitExceededException":
		return say(ErrUnreachable, "it cannot answer now")
	}
	if isTransport(err) { // a status of 500 and above, from a proxy for instance
		return say(ErrUnreachable, "it cannot answer now")
	}
	return say(nil, "refused")
}

// isTransport reports whether a call failed before it was answered, or was answered
// by somebody who could not.
func isTransport(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return false
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	if _, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		return true
	}
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	return ok && (response.HTTPStatusCode() >= http.StatusInternalServerError || response.HTTPStatusCode() == http.StatusTooManyRequests)
}
