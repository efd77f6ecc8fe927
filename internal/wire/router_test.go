package wire_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/cloudtrailapi"
	"arca/internal/api/iamapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/api/smapi"
	"arca/internal/api/stsapi"
	"arca/internal/wire"
)

func services() []*api.Service {
	return []*api.Service{smapi.Service, arcaapi.Service, iamapi.Service, stsapi.Service, lambdaapi.Service, cloudtrailapi.Service}
}

func newRouter(t testing.TB) *wire.Router {
	t.Helper()
	r, err := wire.NewRouter(services()...)
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
		broken   = "404 MalformedQueryString"
		whoami   = "Action=GetCallerIdentity&Version=2011-06-15"
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

		{"STS", "POST", "/", form, whoami, nil, "sts GetCallerIdentity"},
		{"IAM", "POST", "/", form + "; charset=utf-8", "Version=2010-05-08&UserName=a&Action=GetUser", nil, "iam GetUser"},
		{"escaped name and value", "POST", "/", form, "%41ction=%47etUser&Version=2010%2D05%2d08", nil, "iam GetUser"},
		{"presigned", "GET", "/?" + whoami + "&X-Amz-Signature=0", "", "", nil, "sts GetCallerIdentity"},
		{"presigned with a content type", "GET", "/?" + whoami, form, "", nil, "sts GetCallerIdentity"},
		{"presigned POST", "POST", "/?" + whoami, "", "", nil, "sts GetCallerIdentity"},
		{"POST signed in the URL", "POST", "/?X-Amz-Algorithm=a&x-amz-signature=0", form, whoami, nil, "sts GetCallerIdentity"},
		{"HEAD", "HEAD", "/?" + whoami, "", "", nil, notFound},
		{"GET with a body", "GET", "/?" + whoami, form, whoami, nil, notFound},
		{"action in URL and form", "POST", "/?Action=GetUser&Version=2010-05-08", form, whoami, nil, broken},
		{"parameter in URL and action in form", "POST", "/?RoleArn=a", form, whoami, nil, broken},
		{"unreadable parameter in URL and action in form", "POST", "/?%zz", form, whoami, nil, broken},
		{"two actions", "POST", "/", form, whoami + "&Action=GetSessionToken", nil, broken},
		{"the same action twice", "POST", "/", form, whoami + "&Action=GetCallerIdentity", nil, broken},
		{"empty action, then another", "POST", "/", form, "Action=&" + whoami, nil, broken},
		{"two versions", "POST", "/", form, whoami + "&Version=2010-05-08", nil, broken},
		{"unreadable action", "POST", "/", form, "Action=%zz&Version=2010-05-08", nil, broken},
		{"unreadable name", "POST", "/", form, whoami + "&%4=", nil, broken},
		{"too many parameters", "POST", "/", form, whoami + strings.Repeat("&a=b", 10_000), nil, broken},
		{"many parameters", "POST", "/", form, whoami + strings.Repeat("&a=b", 9_998), nil, "sts GetCallerIdentity"},
		{"no action", "POST", "/", form, "Version=2011-06-15", nil, "400 MissingAction"},
		{"empty action", "POST", "/", form, "Action=&Version=2011-06-15", nil, "400 MissingAction"},
		{"empty form", "POST", "/", form, "", nil, "400 MissingAction"},
		{"no version", "POST", "/", form, "Action=GetCallerIdentity", nil, "400 InvalidAction"},
		{"version of another service", "POST", "/", form, "Action=GetCallerIdentity&Version=2010-05-08", nil, "400 InvalidAction"},
		{"unknown action", "POST", "/", form, "Action=CreateLoginProfile&Version=2010-05-08", nil, "400 InvalidAction"},
		{"action in other case", "POST", "/", form, "Action=getUser&Version=2010-05-08", nil, "400 InvalidAction"},
		{"action of a JSON service", "POST", "/", form, "Action=GetSecretValue&Version=2017-10-17", nil, "400 InvalidAction"},
		{"selector in other case", "POST", "/", form, "action=GetCallerIdentity&Version=2011-06-15", nil, "400 MissingAction"},
		{"form and path", "POST", "/x", form, whoami, nil, notFound},
		{"form in JSON", "POST", "/", json11, whoami, nil, unknown},
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
	op, input, err := r.Route(req, []byte(body))
	if err == nil {
		want := body
		if body == "" {
			want = req.URL.RawQuery
		}
		if string(input) != want {
			return "input " + string(input)
		}
		return op.Service.Name + " " + op.Name
	}
	status, _, _ := wire.Reply{Protocol: wire.ProtocolOf(req)}.RenderError(err, true)
	return strings.Join([]string{map[int]string{400: "400", 404: "404"}[status], err.Code.Name}, " ")
}

func TestTwoContentTypes(t *testing.T) {
	req := httptest.NewRequest("POST", "/", nil)
	req.Header.Set(wire.HeaderTarget, "arca.GetClock")
	req.Header["Content-Type"] = []string{wire.ContentTypeJSON11, wire.ContentTypeJSON11}
	if op, _, err := newRouter(t).Route(req, nil); err == nil {
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
	for _, s := range services() {
		for _, op := range s.Operations {
			req, body := httptest.NewRequest("POST", "/", nil), ""
			switch s.Protocol {
			case api.RESTJSON:
				req = httptest.NewRequest(op.Method, strings.NewReplacer("{", "x", "}", "y").Replace(op.Path), nil)
			case api.Query:
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				body = "Action=" + op.Name + "&Version=" + s.Version
			default:
				req.Header.Set(wire.HeaderTarget, s.TargetPrefix+"."+op.Name)
				req.Header.Set("Content-Type", wire.ContentTypeJSON11)
			}
			if got, _, err := r.Route(req, []byte(body)); err != nil || got != op {
				t.Errorf("Route(%s) = %v, %v", op.Name, got, err)
			}
		}
	}
}

// TestTargetWithNamespace: clients of CloudTrail differ in what they call an operation.
func TestTargetWithNamespace(t *testing.T) {
	r := newRouter(t)
	for target, want := range map[string]*api.Operation{
		"CloudTrail_20131101.LookupEvents":                                    cloudtrailapi.OpLookupEvents,
		"com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents": cloudtrailapi.OpLookupEvents,
		"com.amazonaws.cloudtrail.v20131101.secretsmanager.GetSecretValue":    nil,
		"com.amazonaws.CloudTrail_20131101.LookupEvents":                      nil,
		".CloudTrail_20131101.LookupEvents":                                   nil,
	} {
		req := httptest.NewRequest("POST", "/", nil)
		req.Header.Set(wire.HeaderTarget, target)
		req.Header.Set("Content-Type", wire.ContentTypeJSON11)
		if got, _, err := r.Route(req, nil); got != want || (err == nil) != (want != nil) {
			t.Errorf("Route(%s) = %v, %v", target, got, err)
		}
	}
}

func TestNewRouterRefuses(t *testing.T) {
	if _, err := wire.NewRouter(smapi.Service, smapi.Service); err == nil {
		t.Error("one service twice is accepted")
	}
	if _, err := wire.NewRouter(iamapi.Service, iamapi.Service); err == nil {
		t.Error("one Query service twice is accepted")
	}
	op := func(name, path string) *api.Operation { return &api.Operation{Name: name, Method: "GET", Path: path} }
	for name, ops := range map[string][]*api.Operation{
		"a path without a version":        {op("A", "/functions")},
		"one path twice":                  {op("A", "/2020-01-01/a"), op("B", "/2020-01-01/a")},
		"a member where a literal may be": {op("A", "/2020-01-01/a/{X}"), op("B", "/2020-01-01/{Y}/b")},
	} {
		if _, err := wire.NewRouter(api.NewService(api.Service{Name: "lambda", Protocol: api.RESTJSON, Operations: ops})); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := wire.NewRouter(api.NewService(api.Service{Name: "x", Operations: []*api.Operation{op("A", "/")}})); err == nil {
		t.Error("a service without a codec is accepted")
	}
}

// FuzzRoute checks that only a target that names it exactly leads to an operation.
func FuzzRoute(f *testing.F) {
	f.Add("POST", "", "", "secretsmanager.GetSecretValue", wire.ContentTypeJSON11, "{}")
	f.Add("POST", "/", "Action=x", "arca.GetClock", wire.ContentTypeJSON11+";a=b", "{}")
	f.Add("POST", "/x", "", "", "application/x-www-form-urlencoded", "Action=x&Version=1")
	f.Add("GET", "/", "%zz&Action", "arca.GetClock", "", "")
	f.Add("GET", "/", "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Signature=0", "", "", "")
	f.Add("POST", "", "X-Amz-Signature=0", "", "application/x-www-form-urlencoded", "&Version=2010-05-08&&A%63tion=Get%55ser")
	r := newRouter(f)
	f.Fuzz(func(t *testing.T, method, path, query, target, contentType, body string) {
		req := httptest.NewRequest("POST", "/", nil)
		req.Method, req.URL.Path, req.URL.RawQuery = method, path, query
		if target != "" {
			req.Header[wire.HeaderTarget] = []string{target}
		}
		if contentType != "" {
			req.Header["Content-Type"] = []string{contentType}
		}
		op, _, err := r.Route(req, []byte(body))
		if (op == nil) == (err == nil) {
			t.Fatalf("Route() = %v, %v", op, err)
		}
		if err != nil {
			wire.Reply{Protocol: wire.ProtocolOf(req)}.RenderError(err, true)
			return
		}
		if op.Service.Protocol == api.Query {
			all, _ := url.ParseQuery(query + "&" + strings.ReplaceAll(body, ";", "%3B"))
			want := url.Values{"Action": {op.Name}, "Version": {op.Service.Version}}
			if !slices.Equal(all["Action"], want["Action"]) || !slices.Equal(all["Version"], want["Version"]) || target != "" {
				t.Fatalf("%s %s?%s with target %q and form %q runs %s", method, path, query, target, body, op.Name)
			}
			return
		}
		if op.Service.Protocol == api.RESTJSON {
			if target != "" || req.URL.Query().Has("Action") || method != op.Method {
				t.Fatalf("%s %s?%s with target %q runs %s", method, path, query, target, op.Name)
			}
			return
		}
		if target != op.Service.TargetPrefix+"."+op.Name || method != "POST" || req.URL.Query().Has("Action") {
			t.Fatalf("%s %s?%s with target %q runs %s", method, path, query, target, op.Name)
		}
	})
}
