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

// maxAnswerBytes bounds what a command reads from a server.
const maxAnswerBytes = 1 << 20

// call sends one signed request of the service "arca" and decodes the answer.
func (c *client) call(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode %s: %w", operation, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "arca."+operation)
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, c.creds, req, hex.EncodeToString(sum[:]), "arca", c.region, time.Now()); err != nil {
		return fmt.Errorf("sign request: %w", err)
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
		return fmt.Errorf("no answer from %s (%s): %w", c.endpoint, advice, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return fmt.Errorf("read answer of %s: %w", c.endpoint, err)
	}
	if resp.StatusCode == http.StatusOK {
		return json.Unmarshal(answer, out)
	}
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	switch {
	case json.Unmarshal(answer, &e) == nil && e.Type != "":
	case bytes.Contains(answer, []byte("HTTP request to an HTTPS server")): // net/http's words
		return fmt.Errorf("%s answered %s: write https://", c.endpoint, resp.Status)
	default:
		return fmt.Errorf("%s answered %s: is it an Arca server?", c.endpoint, resp.Status)
	}
	if c.unset && e.Type == "UnrecognizedClientException" {
		return fmt.Errorf("%s: %s No credentials are set (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE), so those of a development server were tried", e.Type, e.Message)
	}
	return errors.New(e.Type + ": " + e.Message)
}
