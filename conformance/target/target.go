// Package target gives conformance tests something to talk to: an arca built from
// this source and started as a process of its own, a server at a URL, or AWS. The
// tests say what AWS does, so they must be able to ask AWS.
//
// A started arca is held to more than its answers: it must end cleanly when it is
// told to, and its data must pass fsck afterwards.
package target

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// The credentials of a development server, and the region tests use there.
const (
	AccessKeyID     = "test"
	SecretAccessKey = "test"
	Region          = "us-east-1"
)

// Target is what the tests of one package talk to. It can be used concurrently.
type Target struct {
	// URL is the endpoint; AWS has none of its own.
	URL string
	// AWS says that the target is AWS itself, where time cannot be moved and what
	// tests leave behind costs money.
	AWS bool
	// Server is the process that was started, nil for a server that was there.
	Server *Server
	// Config holds region and credentials for clients.
	Config aws.Config
}

// Main is the TestMain of a package: it opens the target that the flag -target
// names, stores it, runs the tests and closes it. The result is an exit code.
func Main(m *testing.M, store func(*Target)) int {
	which := flag.String("target", "", "what to test: a URL, or \"aws\"; default: an arca built from this source")
	flag.Parse()
	t, err := open(*which)
	if err != nil {
		fmt.Fprintf(os.Stderr, "open target: %v\n", err)
		return 1
	}
	store(t)
	code := m.Run()
	if err := t.close(); err != nil {
		fmt.Fprintf(os.Stderr, "close target: %v\n", err)
		return 1
	}
	return code
}

func open(which string) (*Target, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	t := &Target{URL: which, AWS: which == "aws"}
	var err error
	switch {
	case t.AWS:
		t.URL = ""
		if t.Config, err = config.LoadDefaultConfig(ctx); err != nil {
			return nil, fmt.Errorf("load AWS configuration: %w", err)
		}
		if t.Config.Region == "" {
			return nil, errors.New("no region is set for AWS: set AWS_REGION")
		}
		return t, nil
	case which == "":
		if t.Server, err = startBuilt(); err != nil {
			return nil, err
		}
		t.URL = t.Server.URL
	}
	t.Config = aws.Config{
		Region:      Region,
		Credentials: credentials.NewStaticCredentialsProvider(AccessKeyID, SecretAccessKey, ""),
	}
	if id := os.Getenv("AWS_ACCESS_KEY_ID"); which != "" && id != "" {
		t.Config.Credentials = credentials.NewStaticCredentialsProvider(id, os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN"))
	}
	t.Config.BaseEndpoint = aws.String(t.URL)
	return t, nil
}

func (t *Target) close() error {
	if t.Server == nil {
		return nil
	}
	return errors.Join(t.Server.Stop(), os.RemoveAll(t.Server.dir))
}

// Client returns a Secrets Manager client for the target.
func (t *Target) Client(opts ...func(*secretsmanager.Options)) *secretsmanager.Client {
	return secretsmanager.NewFromConfig(t.Config, opts...)
}

// Endpoint is the URL of the target, also of AWS.
func (t *Target) Endpoint() string {
	if t.AWS {
		return "https://secretsmanager." + t.Config.Region + ".amazonaws.com"
	}
	return t.URL
}
