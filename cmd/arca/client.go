package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"

	"arca/internal/app"
)

// client calls Arca's own operations at an endpoint.
type client struct {
	endpoint string
	region   string
	creds    aws.Credentials
	// unset tells that creds are the development server's, for want of others.
	unset bool
	http  *http.Client
}

// endpointFlag is the flag every command has that talks to a server.
func endpointFlag(cmd *cobra.Command, endpoint *string) {
	cmd.PersistentFlags().StringVar(endpoint, "endpoint", "", "`URL` of the server (default: the environment's AWS_ENDPOINT_URL, else http://"+app.DevListen+")")
}

// newClient finds endpoint and credentials the way AWS clients do; on loopback,
// where the environment names none, the development credentials are used.
func newClient(ctx context.Context, endpoint string, getenv func(string) string) (*client, error) {
	c := &client{endpoint: endpoint, region: "us-east-1", http: http.DefaultClient}
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if r := getenv(name); r != "" {
			c.region = r
			break
		}
	}
	if c.endpoint == "" {
		c.endpoint = getenv("AWS_ENDPOINT_URL")
	}
	profile := getenv("AWS_PROFILE") != ""
	var cfg aws.Config
	if profile {
		var err error
		if cfg, err = config.LoadDefaultConfig(ctx); err != nil {
			return nil, fmt.Errorf("load AWS client configuration: %w", err)
		}
		if c.endpoint == "" && cfg.BaseEndpoint != nil {
			c.endpoint = *cfg.BaseEndpoint
		}
		if cfg.Region != "" {
			c.region = cfg.Region
		}
	}
	if c.endpoint == "" {
		c.endpoint = "http://" + app.DevListen
	}
	c.endpoint = strings.TrimSuffix(c.endpoint, "/")
	u, err := url.Parse(c.endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usageError{error: fmt.Errorf("endpoint %q is not of the form http://host:port", c.endpoint)}
	}
	if bundle := getenv("AWS_CA_BUNDLE"); bundle != "" {
		if c.http, err = trusting(bundle); err != nil {
			return nil, err
		}
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if loopback && getenv("AWS_ACCESS_KEY_ID") == "" && !profile {
		c.creds = aws.Credentials{AccessKeyID: app.DevAccessKeyID, SecretAccessKey: app.DevSecretAccessKey}
		c.unset = true
		return c, nil
	}
	if !profile {
		if cfg, err = config.LoadDefaultConfig(ctx, config.WithRegion(c.region)); err != nil {
			return nil, fmt.Errorf("load AWS client configuration: %w", err)
		}
	}
	if cfg.Credentials == nil {
		return nil, errors.New("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
	}
	if c.creds, err = cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, fmt.Errorf("find credentials (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE): %w", err)
	}
	return c, nil
}

// trusting is a client that trusts the certificates of a file, as AWS clients do with
// AWS_CA_BUNDLE.
func trusting(bundle string) (*http.Client, error) {
	pem, err := os.ReadFile(bundle)
	if err != nil {
		return nil, fmt.Errorf("read AWS_CA_BUNDLE: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("AWS_CA_BUNDLE %s holds no certificate", bundle)
	}
	t := http.DefaultTransport.(*http.Transport).Clone() // it is one unless somebody replaced it
	t.TLSClientConfig = &tls.Config{RootCAs: pool}
	return &http.Client{Transport: t}, nil
}

// noAnswerError says that nobody answered, or not to the end: the server may be
// starting again.
type noAnswerError struct{ error }

func (e noAnswerError) Unwrap() error { return e.error }

func isNoAnswer(err error) bool {
	_, ok := errors.AsType[noAnswerError](err)
	return ok
}

// maxAnswerBytes bounds what a command reads from a server. Parts of backups are the
// largest answers.
const maxAnswerBytes = 16 << 20

// call sends one signed request of the service "arca" and decodes the answer.
func (c *client) call(ctx context.Context, operation string, in, out any) error {
	return c.callService(ctx, "arca", operation, in, out)
}

// callService is call for a service that speaks JSON as Arca's own does, and whose
// operations are named after it.
func (c *client) callService(ctx context.Context, service, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode %s: %w", operation, err)
	}
	header := http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {service + "." + operation}}
	resp, answer, err := c.send(ctx, service, http.MethodPost, "/", header, body)
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		return json.Unmarshal(answer, out)
	}
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(answer, &e) // what is not of that form has no type
	return c.refusal(resp, answer, e.Type, e.Message)
}

// refusal is the error of an answer that is none, given the code and message found in it.
func (c *client) refusal(resp *http.Response, answer []byte, code, message string) error {
	switch {
	case code == "" && bytes.Contains(answer, []byte("HTTP request to an HTTPS server")): // net/http's words
		return fmt.Errorf("%s answered %s: write https://", c.endpoint, resp.Status)
	case code == "":
		return fmt.Errorf("%s answered %s: is it an Arca server?", c.endpoint, resp.Status)
	case c.unset && (code == "UnrecognizedClientException" || code == "InvalidClientTokenId"):
		return fmt.Errorf("%s: %s No credentials are set (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE), so those of a development server were tried", code, message)
	}
	return serviceError{code: code, message: message, status: resp.StatusCode}
}

// send makes one signed request to a service of the server and reads the answer,
// whatever it says.
func (c *client) send(ctx context.Context, service, method, path string, header http.Header, body []byte) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.endpoint+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, fmt.Errorf("make request: %w", err)
	}
	req.Header = header
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, c.creds, req, hex.EncodeToString(sum[:]), service, c.region, time.Now()); err != nil {
		return nil, nil, fmt.Errorf("sign request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var about *url.Error // says method and URL again
		if errors.As(err, &about) {
			err = about.Err
		}
		advice := "is `arca dev` running there? --endpoint names another"
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			advice = "AWS_CA_BUNDLE names a file with certificates to trust, such as the server's tls.crt"
		}
		return nil, nil, noAnswerError{fmt.Errorf("no answer from %s (%s): %w", c.endpoint, advice, err)}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return nil, nil, noAnswerError{fmt.Errorf("read answer of %s: %w", c.endpoint, err)}
	}
	return resp, answer, nil
}

// serviceError is a refusal by the server.
type serviceError struct {
	code, message string
	status        int
}

func (e serviceError) Error() string { return e.code + ": " + e.message }

// passing reports whether the same request may work a moment later: nobody answered,
// or the server could not just then.
func passing(err error) bool {
	if refused, ok := errors.AsType[serviceError](err); ok {
		return refused.status >= http.StatusInternalServerError || refused.code == "ThrottlingException"
	}
	return isNoAnswer(err)
}
