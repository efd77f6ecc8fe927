package policy_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"arca/internal/policy"
)

func TestCache(t *testing.T) {
	var c policy.Cache
	identity, resource, trust := identityPolicy(), resourcePolicy(), trustPolicy()
	for name, get := range map[string]func() (*policy.Compiled, error){
		"identity": func() (*policy.Compiled, error) { return c.Identity(identity) },
		"resource": func() (*policy.Compiled, error) { return c.Resource(resource) },
		"trust":    func() (*policy.Compiled, error) { return c.Trust(trust) },
	} {
		first, err := get()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if second, err := get(); err != nil || second != first {
			t.Errorf("%s: compiled twice, error %v", name, err)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = get() }); n != 0 {
			t.Errorf("%s: a hit allocates %v times", name, n)
		}
	}
	// One grammar's text is not another's.
	if _, err := c.Identity(resource); err == nil {
		t.Error("a resource policy is taken for an identity policy")
	}
	if _, err := c.Resource(trust); err == nil {
		t.Error("a trust policy is taken for a resource policy")
	}
	if got, err := c.Trust("{"); err == nil || got != nil {
		t.Errorf("Trust(\"{\") = %v, %v", got, err)
	}
	if n, _ := c.Size(); n != 3 {
		t.Errorf("the cache holds %d texts, want 3", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	text := func(i int) string { return identityPolicy("Sid", fmt.Sprintf("%q", fmt.Sprint("S", 1000+i))) }
	_, each := func() (int, int) {
		var one policy.Cache
		_, _ = one.Identity(text(0))
		return one.Size()
	}()
	c := policy.NewCache(10, 5*each)
	for i := range 50 {
		if _, err := c.Identity(text(i)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Identity(text(0)); err != nil { // stays in use
			t.Fatal(err)
		}
		if n, bytes := c.Size(); n > 5 || bytes > 5*each {
			t.Fatalf("the cache holds %d texts of %d bytes", n, bytes)
		}
	}
	if n, _ := c.Size(); n != 5 {
		t.Errorf("the cache holds %d texts, want 5", n)
	}
	first, _ := c.Identity(text(0))
	_, _ = c.Identity(text(60))
	if again, _ := c.Identity(text(0)); again != first {
		t.Error("a text in use was forgotten before others")
	}
	// What is larger than the cache is compiled, not kept.
	if _, err := c.Identity(identityPolicy("Action", fmt.Sprintf("%q", "s3:"+strings.Repeat("a", 200))) + strings.Repeat(" ", 5*each)); err != nil {
		t.Error(err)
	}
	if _, bytes := c.Size(); bytes > 5*each {
		t.Errorf("the cache holds %d bytes", bytes)
	}
	few := policy.NewCache(2, 1<<20)
	for i := range 10 {
		_, _ = few.Identity(text(i))
	}
	if n, _ := few.Size(); n != 2 {
		t.Errorf("the cache holds %d texts, want 2", n)
	}
}

func TestCacheConcurrently(t *testing.T) {
	c := policy.NewCache(8, 1<<20)
	req, ps := typical(t)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				text := identityPolicy("Action", `"secretsmanager:*"`, "Sid", fmt.Sprintf("%q", fmt.Sprint("S", (g+i)%12)))
				compiled, err := c.Identity(text)
				if err != nil {
					t.Error(err)
					return
				}
				mine := *ps
				mine.Identity = []policy.Source{{Policy: compiled}}
				if !policy.Evaluate(req, &mine).Allowed {
					t.Error("a policy from the cache does not allow")
				}
			}
		})
	}
	wg.Wait()
	c.Size()
}
