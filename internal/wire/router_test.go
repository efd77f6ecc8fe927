package wire_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/smapi"
	"arca/internal/wire"
)

func newRouter(t testing.TB) *wire.Router {
	t.Helper()
	r, err := wire.NewRouter(smapi.Service, arcaapi.Service)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRoute(t *testing.T) {
	const (
		unknown  = "400 UnknownOperationException"
		notFound = "404 UnknownOperationException"
		json11   = "application/x-amz-json-1.1"
		form     = "application/x-www-form-urlencoded"
	)
	for _, tt := range []struct {
		name, method, url, contentType, body string
		targets                              []string
		want                                 string
	}{
		{"secrets manager", "POST", "/", json11, "{}", []string{"secretsmanager.GetSecretValue"}, "secretsmanager GetSecretValue"},
		{"arca", "POST", "/", json11, "{}", []string{"arca.GetClock"}, "arca GetClock"},
		{"content type with parameter", "POST", "/", json11 + "; charset=utf-8", "{}", []string{"arca.GetClock"}, "arca GetClock"},
		{"content type in other case", "POST", "/", "Application/X-Amz-JSON-1.1", "{}", []string{"arca.GetClock"}, "arca GetClock"},
		{"query without meaning", "POST", "/?x=1", json11, "{}", []string{"arca.GetClock"}, "arca GetClock"},
		{"operation of another service", "POST", "/", json11, "{}", []string{"arca.GetSecretValue"}, unknown},
		{"operation in other case", "POST", "/", json11, "{}", []string{"secretsmanager.getSecretValue"}, unknown},
		{"prefix in other case", "POST", "/", json11, "{}", []string{"SecretsManager.GetSecretValue"}, unknown},
		{"padding", "POST", "/", json11, "{}", []string{"secretsmanager.GetSecretValue "}, unknown},
		{"no target", "POST", "/", json11, "{}", nil, unknown},
		{"empty target", "POST", "/", json11, "{}", []string{""}, unknown},
		{"no prefix", "POST", "/", json11, "{}", []string{"GetSecretValue"}, unknown},
		{"two targets", "POST", "/", json11, "{}", []string{"arca.GetClock", "arca.GetClock"}, unknown},
		{"target and action in the URL", "POST", "/?Action=GetUser", json11, "{}", []string{"arca.GetClock"}, unknown},
		{"target and escaped action in the URL", "POST", "/?%41ction=GetUser", json11, "{}", []string{"arca.GetClock"}, unknown},
		{"target and action beside a broken parameter", "POST", "/?a=%zz&Action=GetUser", json11, "{}", []string{"arca.GetClock"}, unknown},
		{"target and action in a form", "POST", "/", form, "Action=GetUser", []string{"arca.GetClock"}, unknown},
		{"target and path", "POST", "/2015-03-31/functions", json11, "{}", []string{"arca.GetClock"}, notFound},
		{"GET", "GET", "/", json11, "", []string{"arca.GetClock"}, notFound},
		{"PUT", "PUT", "/", json11, "{}", []string{"arca.GetClock"}, notFound},
		{"no content type", "POST", "/", "", "{}", []string{"arca.GetClock"}, notFound},
		{"broken content type", "POST", "/", "application/", "{}", []string{"arca.GetClock"}, notFound},
		{"ordinary JSON", "POST", "/", "application/json", "{}", []string{"arca.GetClock"}, notFound},
		{"JSON 1.0", "POST", "/", "application/x-amz-json-1.0", "{}", []string{"arca.GetClock"}, notFound},
		{"form without a service for it", "POST", "/", form, "Action=GetCallerIdentity&Version=2011-06-15", nil, notFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := httptest.NewRequest(tt.method, tt.url, strings.NewReader(tt.body))
			req.Header[wire.HeaderTarget] = tt.targets
			if tt.contentType != "" {
				req.Header.Set("Content-Type", tt.contentType)
			}
			if got := route(newRouter(t), req, tt.body); got != tt.want {
				t.Errorf("Route() = %s, want %s", got, tt.want)
			}
		})
	}
}

func route(r *wire.Router, req *http.Request, body string) string {
	op, err := r.Route(req, []byte(body))
	if err == nil {
		return op.Service.Name + " " + op.Name
	}
	status, _, _ := wire.RenderError(nil, err, true)
	return strings.Join([]string{map[int]string{400: "400", 404: "404"}[status], err.Code.Name}, " ")
}

func TestTwoContentTypes(t *testing.T) {
	req := httptest.NewRequest("POST", "/", nil)
	req.Header.Set(wire.HeaderTarget, "arca.GetClock")
	req.Header["Content-Type"] = []string{wire.ContentTypeJSON11, wire.ContentTypeJSON11}
	if op, err := newRouter(t).Route(req, nil); err == nil {
		t.Errorf("Route() = %s, want a refusal", op.Name)
	}
}

// TestScopeHasNoSay sends a request whose credentials name another service.
func TestScopeHasNoSay(t *testing.T) {
	req := httptest.NewRequest("POST", "/", nil)
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=A/20260101/eu-west-1/kms/aws4_request, SignedHeaders=host, Signature=00")
	req.Header.Set(wire.HeaderTarget, "secretsmanager.GetSecretValue")
	req.Header.Set("Content-Type", wire.ContentTypeJSON11)
	if got, want := route(newRouter(t), req, ""), "secretsmanager GetSecretValue"; got != want {
		t.Errorf("Route() = %s, want %s", got, want)
	}
}

func TestEveryOperationHasItsRoute(t *testing.T) {
	r := newRouter(t)
	for _, s := range []*api.Service{smapi.Service, arcaapi.Service} {
		for _, op := range s.Operations {
			req := httptest.NewRequest("POST", "/", nil)
			req.Header.Set(wire.HeaderTarget, s.TargetPrefix+"."+op.Name)
			req.Header.Set("Content-Type", wire.ContentTypeJSON11)
			if got, err := r.Route(req, nil); err != nil || got != op {
				t.Errorf("Route(%s) = %v, %v", op.Name, got, err)
			}
		}
	}
}

func TestNewRouterRefuses(t *testing.T) {
	if _, err := wire.NewRouter(smapi.Service, smapi.Service); err == nil {
		t.Error("one service twice is accepted")
	}
	if _, err := wire.NewRouter(&api.Service{Name: "iam", Protocol: api.Query}); err == nil {
		t.Error("a service without a codec is accepted")
	}
}

// FuzzRoute checks that only a target that names it exactly leads to an operation.
func FuzzRoute(f *testing.F) {
	f.Add("POST", "", "", "secretsmanager.GetSecretValue", wire.ContentTypeJSON11, "{}")
	f.Add("POST", "/", "Action=x", "arca.GetClock", wire.ContentTypeJSON11+";a=b", "{}")
	f.Add("POST", "/x", "", "", "application/x-www-form-urlencoded", "Action=x&Version=1")
	f.Add("GET", "/", "%zz&Action", "arca.GetClock", "", "")
	r := newRouter(f)
	f.Fuzz(func(t *testing.T, method, path, query, target, contentType, body string) {
		req := httptest.NewRequest("POST", "/", nil)
		req.Method, req.URL.Path, req.URL.RawQuery = method, path, query
		req.Header[wire.HeaderTarget] = []string{target}
		req.Header["Content-Type"] = []string{contentType}
		op, err := r.Route(req, []byte(body))
		if (op == nil) == (err == nil) {
			t.Fatalf("Route() = %v, %v", op, err)
		}
		if err != nil {
			wire.RenderError(nil, err, true)
			return
		}
		if target != op.Service.TargetPrefix+"."+op.Name || method != "POST" || req.URL.Query().Has("Action") {
			t.Fatalf("%s %s?%s with target %q runs %s", method, path, query, target, op.Name)
		}
	})
}
