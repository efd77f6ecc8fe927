package secretsmanager_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// atOnce runs fn n times at the same time.
func atOnce(n int, fn func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { fn(i) })
	}
	wg.Wait()
}

// Of many who create one name, one does, and all of them can then read its value.
func TestConcurrentCreate(t *testing.T) {
	k := newKit(t)
	name := k.prefix + "s"
	k.remove(name)
	errs := make([]error, 16)
	atOnce(len(errs), func(i int) {
		_, errs[i] = k.CreateSecret(k.ctx(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(fmt.Sprint(i))})
	})
	winner := slices.Index(errs, nil)
	if winner < 0 {
		t.Fatalf("nobody created the secret: %v", errs)
	}
	for i, err := range errs {
		if i == winner {
			continue
		}
		wantError[*types.ResourceExistsException](t, err, "The operation failed because the secret "+name+" already exists.")
	}
	if got := k.value(name, ""); got != fmt.Sprint(winner) {
		t.Errorf("value = %q, want that of the call that succeeded, %d", got, winner)
	}
}

// One call that is sent many times at once, as retries are, has one effect.
func TestConcurrentRetries(t *testing.T) {
	k := newKit(t)
	name := k.empty("s")
	id := token()
	errs := make([]error, 16)
	atOnce(len(errs), func(i int) {
		_, errs[i] = k.PutSecretValue(k.ctx(), &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: aws.String("v"), ClientRequestToken: &id})
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if got := k.versions(name, true); len(got) != 1 || aws.ToString(got[0].VersionId) != id {
		t.Errorf("%d versions, want one", len(got))
	}
}

// Many who put values leave every value there, and the labels on two of them.
func TestConcurrentPuts(t *testing.T) {
	k := newKit(t)
	name := k.empty("s")
	var mu sync.Mutex
	values := map[string]string{}
	atOnce(20, func(i int) {
		value := fmt.Sprint(i)
		out, err := k.PutSecretValue(k.ctx(), &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: &value})
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		values[aws.ToString(out.VersionId)] = value
	})
	labels := map[string]int{}
	for _, v := range k.versions(name, true) {
		out, err := k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &name, VersionId: v.VersionId})
		if err != nil {
			t.Errorf("version %s: %v", *v.VersionId, err)
			continue
		}
		if got := aws.ToString(out.SecretString); got != values[*v.VersionId] {
			t.Errorf("version %s has %q, want %q", *v.VersionId, got, values[*v.VersionId])
		}
		delete(values, *v.VersionId)
		for _, stage := range v.VersionStages {
			labels[stage]++
		}
	}
	if len(values) > 0 {
		t.Errorf("acknowledged versions are missing: %v", values)
	}
	if len(labels) != 2 || labels["AWSCURRENT"] != 1 || labels["AWSPREVIOUS"] != 1 {
		t.Errorf("labels = %v, want AWSCURRENT and AWSPREVIOUS once each", labels)
	}
}

// A read that begins after a write was acknowledged sees it.
func TestConcurrentReadYourWrites(t *testing.T) {
	k := newKit(t)
	atOnce(8, func(i int) {
		name := fmt.Sprintf("%ss%d", k.prefix, i)
		if _, err := k.CreateSecret(k.ctx(), &secretsmanager.CreateSecretInput{Name: &name}); err != nil {
			t.Error(err)
			return
		}
		k.remove(name)
		for n := range 10 {
			want := fmt.Sprint(n)
			if _, err := k.PutSecretValue(k.ctx(), &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: &want}); err != nil {
				t.Error(err)
				return
			}
			out, err := shared.Client().GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &name})
			if err != nil || aws.ToString(out.SecretString) != want {
				t.Errorf("read %q, %v after writing %q", aws.ToString(out.SecretString), err, want)
			}
		}
	})
}
