package conformance_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"arca/conformance/target"
)

// protocols notes which HTTP protocol answers come in.
type protocols struct {
	next http.RoundTripper
	last string
}

func (p *protocols) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := p.next.RoundTrip(r)
	if err == nil {
		p.last = resp.Proto
	}
	return resp, err
}

// A production server as its first start leaves it: clients trust the certificate
// and use the credentials it has written down.
func TestProductionServer(t *testing.T) {
	if shared.Server == nil {
		t.Skip("needs a server of its own")
	}
	t.Parallel()
	server := shared.Server.StartProduction(t)
	keys := filepath.Join(server.Home, "data.keys")
	var root struct{ AccountID, AccessKeyID, SecretAccessKey string }
	text, err := os.ReadFile(filepath.Join(keys, "root-credentials.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(keys, "tls.crt")
	pem, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", bundle)
	}

	for _, h2 := range []bool{false, true} {
		seen := &protocols{next: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: h2}}
		client := secretsmanager.New(secretsmanager.Options{
			BaseEndpoint: &server.URL, Region: target.Region, HTTPClient: &http.Client{Transport: seen},
			Credentials: credentials.NewStaticCredentialsProvider(root.AccessKeyID, root.SecretAccessKey, ""),
		})
		want, name := "HTTP/1.1", "one"
		if h2 {
			want, name = "HTTP/2.0", "two"
		}
		made, err := client.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &want})
		if err != nil {
			t.Fatal(err)
		}
		if account := strings.Split(aws.ToString(made.ARN), ":")[4]; account != root.AccountID {
			t.Errorf("the ARN is of account %s, the credentials of %s", account, root.AccountID)
		}
		out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &name})
		if err != nil || aws.ToString(out.SecretString) != want || seen.last != want {
			t.Errorf("value = %q over %s, %v, want %s", aws.ToString(out.SecretString), seen.last, err, want)
		}
	}

	// Other clients, with the certificate as they take it.
	needs(t, "/usr/bin/aws")
	for _, args := range [][]string{{"--ca-bundle", bundle}, nil} {
		cmd := exec.Command("/usr/bin/aws", append(args, "--endpoint-url", server.URL, "--output", "text", "secretsmanager",
			"get-secret-value", "--secret-id", "two", "--query", "SecretString")...)
		cmd.Env = append(clientEnv(t), "AWS_ACCESS_KEY_ID="+root.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+root.SecretAccessKey)
		if args == nil {
			cmd.Env = append(cmd.Env, "AWS_CA_BUNDLE="+bundle)
		}
		out, err := cmd.CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "HTTP/2.0" {
			t.Errorf("aws %v: %s, %v", args, out, err)
		}
	}

	// Nobody else is let in.
	stranger := secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: &server.URL, Region: target.Region,
		HTTPClient:  &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
		Credentials: credentials.NewStaticCredentialsProvider(target.AccessKeyID, target.SecretAccessKey, ""),
	})
	if _, err := stranger.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{}); err == nil || !strings.Contains(err.Error(), "UnrecognizedClientException") {
		t.Errorf("development credentials on a production server: %v", err)
	}
}
