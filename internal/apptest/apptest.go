// Package apptest starts whole servers inside a test: everything `arca dev` is, on a
// free port of loopback, with data of its own.
//
// When the test ends the server's data is checked as `arca fsck` does, and a problem
// fails the test; then the server is stopped, which must work without an error.
package apptest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"arca/internal/app"
)

// stopTimeout is how long a server may take to check its data and to stop.
const stopTimeout = 30 * time.Second

// Server is a running server. It can be used concurrently.
type Server struct {
	// URL is the endpoint for clients.
	URL string
	// App is the server itself, for what clients cannot see.
	App *app.App
}

// Option changes how the server is started.
type Option func(*app.DevConfig)

// AnyCredentials makes the server accept every signature and none.
func AnyCredentials(dc *app.DevConfig) { dc.AnyCredentials = true }

// Home keeps the data in a folder of the test's instead of a temporary one, so that
// a second server can find it.
func Home(dir string) Option {
	return func(dc *app.DevConfig) { dc.Home, dc.Ephemeral = dir, false }
}

// Hosts adds host names that clients may use.
func Hosts(names ...string) Option {
	return func(dc *app.DevConfig) { dc.Hosts = append(dc.Hosts, names...) }
}

// New starts a server that ends with the test. Its log goes to the test's.
func New(t testing.TB, opts ...Option) *Server {
	t.Helper()
	dc := app.DevConfig{Ephemeral: true, Listen: "127.0.0.1:0"}
	for _, o := range opts {
		o(&dc)
	}
	d, err := app.OpenDev(t.Context(), dc, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatalf("open server: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		checkCtx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := d.Check(checkCtx, func(problem string) { t.Errorf("fsck: %s", problem) }); err != nil {
			t.Errorf("fsck: %v", err)
		}
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("server: %v", err)
			}
		case <-checkCtx.Done():
			t.Errorf("the server did not stop within %v", stopTimeout)
		}
	})
	return &Server{URL: d.URL(), App: d.App}
}

// Config is what AWS clients need to talk to the server as the account's root.
func (s *Server) Config() aws.Config {
	return aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(s.URL),
		Credentials:  credentials.NewStaticCredentialsProvider(app.DevAccessKeyID, app.DevSecretAccessKey, ""),
	}
}

// Client returns a Secrets Manager client for the server.
func (s *Server) Client(opts ...func(*secretsmanager.Options)) *secretsmanager.Client {
	return secretsmanager.NewFromConfig(s.Config(), opts...)
}
