package faulttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

// ledger is what one writer knows of its secret: the value of the last acknowledged
// write, and the one after it if its answer never came.
type ledger struct {
	name    string
	created bool
	acked   string
	maybe   string // "" when the last write was answered
	token   string // of the last acknowledged write
	writes  int    // tried since the secret was created
}

// TestKillDuringWrites kills the server in the middle of a stream of writes, again
// and again on the same data. After every restart each secret must hold the last
// acknowledged value, or the one whose answer the kill cut off.
func TestKillDuringWrites(t *testing.T) {
	const writers = 8
	kills := 6
	if *long {
		kills = 100
	}
	home := t.TempDir()
	ledgers := make([]*ledger, writers)
	for i := range ledgers {
		ledgers[i] = &ledger{name: fmt.Sprintf("kill/%d", i)}
	}
	acknowledged := 0
	for n := range kills {
		p := start(t, nil, "dev", "--data-dir", home, "--listen", "127.0.0.1:0")
		c := client(p.url, "test", "test")
		for _, l := range ledgers {
			l.verify(t, c)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		counts := make([]int, writers)
		for i, l := range ledgers {
			wg.Go(func() { counts[i] = l.write(ctx, t, c, n) })
		}
		time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond)
		p.kill()
		cancel()
		wg.Wait()
		for _, k := range counts {
			acknowledged += k
		}
	}
	if acknowledged < 5*kills*writers {
		t.Errorf("only %d writes were acknowledged over %d lives", acknowledged, kills)
	}
	p := start(t, nil, "dev", "--data-dir", home, "--listen", "127.0.0.1:0")
	c := client(p.url, "test", "test")
	for _, l := range ledgers {
		l.verify(t, c)
	}
	p.stop()
	fsck(t, nil, "--data-dir", home)
	t.Logf("%d kills, %d acknowledged writes", kills, acknowledged)
}

// write creates or replaces its secret's value until the server is gone, and starts
// over with a new secret before the number of versions becomes unusual.
func (l *ledger) write(ctx context.Context, t *testing.T, c *secretsmanager.Client, life int) (acked int) {
	for n := 0; ctx.Err() == nil; n++ {
		if l.writes == 60 {
			_, err := c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: &l.name, ForceDeleteWithoutRecovery: aws.Bool(true)})
			if err != nil {
				// Deleted or not: the next life finds out by creating it anew.
				l.name += "x"
				*l = ledger{name: l.name}
				return acked
			}
			*l = ledger{name: l.name}
		}
		value := fmt.Sprintf("%s life %d write %d", l.name, life, n)
		token := fmt.Sprintf("%032d", rand.Uint64())
		l.maybe = value
		l.writes++
		var err error
		if l.created {
			_, err = c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &l.name, SecretString: &value, ClientRequestToken: &token})
		} else {
			_, err = c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &l.name, SecretString: &value, ClientRequestToken: &token})
		}
		if err != nil {
			// The kill cuts answers off; the server itself has no reason to refuse.
			if refusal := smithy.APIError(nil); errors.As(err, &refusal) {
				t.Errorf("%s: %v", l.name, err)
			}
			return acked
		}
		l.created, l.acked, l.maybe, l.token = true, value, "", token
		acked++
	}
	return acked
}

// verify compares the server with the ledger and settles what was unknown.
func (l *ledger) verify(t *testing.T, c *secretsmanager.Client) {
	t.Helper()
	got, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &l.name})
	if err != nil {
		var missing *types.ResourceNotFoundException
		if !l.created && asError(err, &missing) {
			l.maybe = ""
			return
		}
		t.Fatalf("%s is lost: acknowledged %q, got %v", l.name, l.acked, err)
	}
	switch value := aws.ToString(got.SecretString); {
	case l.maybe != "" && value == l.maybe:
		l.created, l.acked, l.maybe, l.token = true, l.maybe, "", aws.ToString(got.VersionId)
	case l.created && value == l.acked:
		l.maybe = ""
		if aws.ToString(got.VersionId) != l.token {
			t.Errorf("%s: version %s, want %s", l.name, aws.ToString(got.VersionId), l.token)
		}
	default:
		t.Fatalf("%s holds %q; acknowledged was %q, unanswered %q", l.name, value, l.acked, l.maybe)
	}
	if diff := cmp.Diff([]string{"AWSCURRENT"}, got.VersionStages); diff != "" {
		t.Errorf("%s: stages (-want +got):\n%s", l.name, diff)
	}
}
