package oidctest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

const (
	discoveryPath = "/.well-known/openid-configuration"
	keySetPath    = "/keys"
)

// quiet swallows what a server says about clients that hang up on it.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	mode, cacheControl := i.discovery, ""
	switch r.URL.Path {
	case discoveryPath:
		i.discoveries++
	case keySetPath:
		mode, cacheControl = i.keySet, i.cacheControl
		i.keySets++
	default:
		mode = Missing
	}
	i.mu.Unlock()

	switch mode {
	case Hang:
		select {
		case <-r.Context().Done():
		case <-i.closing:
		}
		// To return would be to answer: an empty document may still reach somebody whose
		// time is just running out.
		panic(http.ErrAbortHandler)
	case Failing:
		http.Error(w, "out of order", http.StatusInternalServerError)
		return
	case Missing:
		http.NotFound(w, r)
		return
	case Redirecting:
		http.Redirect(w, r, i.URL+r.URL.Path, http.StatusFound)
		return
	case Huge:
		for chunk := []byte(strings.Repeat(" ", 32<<10)); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	case Garbled:
		_, _ = io.WriteString(w, "<html>")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if cacheControl != "" {
		w.Header().Set("Cache-Control", cacheControl)
	}
	answer := i.discoveryDocument(mode)
	if r.URL.Path == keySetPath {
		answer = i.published(mode)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (i *Issuer) discoveryDocument(mode Mode) any {
	issuer, keys := i.URL, i.URL+keySetPath
	switch mode {
	case OtherIssuer:
		issuer = "https://issuer.example"
	case InsecureKeys:
		keys = "http" + strings.TrimPrefix(keys, "https")
	}
	return map[string]any{
		"issuer": issuer, "jwks_uri": keys,
		"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256", "ES256"},
	}
}

// published is the key set.
func (i *Issuer) published(mode Mode) any {
	i.mu.Lock()
	defer i.mu.Unlock()
	keys := []any{}
	for _, k := range i.keys {
		keys = append(keys, jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: string(k.Alg), Use: "sig"})
	}
	switch mode {
	case NoKeys:
		keys = keys[:0]
	case TooManyKeys:
		for len(keys) < 201 {
			keys = append(keys, keys[0])
		}
	case OddKeys:
		newest := i.keys[len(i.keys)-1]
		short, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			panic(err)
		}
		keys = append([]any{
			map[string]string{"kty": "quantum", "kid": newest.ID},
			nil,
			"key",
			jose.JSONWebKey{Key: []byte("symmetric keys are not published"), KeyID: newest.ID},
			jose.JSONWebKey{Key: newest.Private.Public(), KeyID: "encrypts", Use: "enc"},
			jose.JSONWebKey{Key: short.Public(), KeyID: "short", Use: "sig"},
			jose.JSONWebKey{Key: newest.Private, KeyID: "private", Use: "sig"},
		}, keys...)
	}
	return map[string]any{"keys": keys}
}
