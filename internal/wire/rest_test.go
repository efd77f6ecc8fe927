package wire_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/lambdaapi"
	"arca/internal/wire"
)

const functions = "/2015-03-31/functions"

func TestRouteByPath(t *testing.T) {
	const notFound = "404 UnknownOperationException"
	for _, tt := range []struct{ name, method, url, contentType, body, target, want string }{
		{name: "list", method: "GET", url: functions, want: "ListFunctions"},
		{name: "slash at the end", method: "GET", url: functions + "/", want: "ListFunctions"},
		{name: "create", method: "POST", url: functions, contentType: "application/json", body: "{}", want: "CreateFunction"},
		{name: "get", method: "GET", url: functions + "/f", want: "GetFunction"},
		{name: "ARN", method: "GET", url: functions + "/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Af", want: "GetFunction"},
		{name: "slash in a name", method: "GET", url: functions + "/a%2Fpolicy", want: "GetFunction"},
		{name: "two names", method: "DELETE", url: functions + "/f/policy/sid", want: "RemovePermission"},
		{name: "invoke", method: "POST", url: functions + "/f/invocations", contentType: "application/octet-stream", body: "x", want: "Invoke"},
		{name: "payload like a form", method: "POST", url: functions + "/f/invocations", contentType: "text/plain", body: "Action=GetUser", want: "Invoke"},
		{name: "other version", method: "GET", url: "/2017-03-31/tags/arn:aws:lambda:x", want: "ListTags"},
		{name: "query", method: "GET", url: functions + "?Marker=x", want: "ListFunctions"},

		{name: "other method", method: "PATCH", url: functions, want: notFound},
		{name: "HEAD", method: "HEAD", url: functions, want: notFound},
		{name: "lower case", method: "get", url: functions, want: notFound},
		{name: "not served", method: "GET", url: functions + "/f/aliases", want: notFound},
		{name: "longer", method: "GET", url: functions + "/f/policy/sid/x", want: notFound},
		{name: "escaped literal", method: "GET", url: "/2015-03-31/%66unctions", want: notFound},
		{name: "two slashes", method: "GET", url: functions + "//f", want: notFound},
		{name: "two slashes at the end", method: "GET", url: functions + "//", want: notFound},
		{name: "empty name", method: "PUT", url: functions + "//code", want: notFound},
		{name: "dots", method: "GET", url: functions + "/..", want: notFound},
		{name: "dot", method: "GET", url: functions + "/./policy", want: notFound},
		{name: "dots inside", method: "GET", url: "/2015-03-31/x/../functions", want: notFound},
		{name: "no version", method: "GET", url: "/functions", want: notFound},
		{name: "in front", method: "GET", url: "/x" + functions, want: notFound},

		{name: "target as well", method: "GET", url: functions, target: "secretsmanager.GetSecretValue", want: notFound},
		{name: "target and its content type", method: "POST", url: functions, contentType: wire.ContentTypeJSON11, body: "{}", target: "secretsmanager.GetSecretValue", want: notFound},
		{name: "action in the URL", method: "GET", url: functions + "?Action=GetUser&Version=2010-05-08", want: notFound},
		{name: "escaped action in the URL", method: "GET", url: functions + "?%41ction=GetUser", want: notFound},
		{name: "action in a form", method: "POST", url: functions + "/f/invocations", contentType: "application/x-www-form-urlencoded", body: "Action=GetUser&Version=2010-05-08", want: notFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := httptest.NewRequest(strings.ToUpper(tt.method), tt.url, strings.NewReader(tt.body))
			req.Method = tt.method
			if tt.target != "" {
				req.Header.Set(wire.HeaderTarget, tt.target)
			}
			if tt.contentType != "" {
				req.Header.Set("Content-Type", tt.contentType)
			}
			got := ""
			op, input, err := newRouter(t).Route(req, []byte(tt.body))
			if err == nil {
				got = op.Name
				if string(input) != tt.body {
					t.Errorf("input %q", input)
				}
			} else {
				status, _, _ := wire.Reply{Protocol: wire.ProtocolOf(req)}.RenderError(err, true)
				got = map[int]string{404: "404"}[status] + " " + err.Code.Name
			}
			if got != tt.want {
				t.Errorf("Route() = %s, want %s", got, tt.want)
			}
		})
	}
}

// What no operation here has is refused by its name, as its client can read it.
func TestUnknownRoute(t *testing.T) {
	req := httptest.NewRequest("PUT", "/2017-10-31/functions/f/concurrency", nil)
	_, _, err := newRouter(t).Route(req, nil)
	reply := wire.Reply{Protocol: wire.ProtocolOf(req)}
	status, contentType, body := reply.RenderError(err, true)
	if status != 404 || contentType != "application/json" || reply.ErrorType(err) != "UnknownOperationException" ||
		string(body) != `{"message":"This server has no operation PUT /2017-10-31/functions/f/concurrency."}` {
		t.Errorf("%d %s %s %s", status, contentType, reply.ErrorType(err), body)
	}
	req = httptest.NewRequest("PUT", "/favicon.ico", nil)
	_, _, err = newRouter(t).Route(req, nil)
	reply = wire.Reply{Protocol: wire.ProtocolOf(req)}
	if _, contentType, _ := reply.RenderError(err, true); contentType != "application/xml" || reply.ErrorType(err) != "" {
		t.Errorf("content type %s, error type %s", contentType, reply.ErrorType(err))
	}
}

// rest is a request for op.
func rest(method, url, body string, headers ...string) *http.Request {
	req := httptest.NewRequest(method, url, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return req
}

func TestDecodeRequest(t *testing.T) {
	for _, tt := range []struct {
		name string
		req  *http.Request
		body string
		want any
		err  string
	}{
		{"path", rest("GET", functions+"/f%2Dg", ""), "", &lambdaapi.GetFunctionInput{FunctionName: "f-g"}, ""},
		{"ARN unescaped", rest("GET", functions+"/123456789012:function:f", ""), "", &lambdaapi.GetFunctionInput{FunctionName: "123456789012:function:f"}, ""},
		{"plus in the path", rest("GET", functions+"/a+b", ""), "", nil, "ValidationException: 1 validation error detected: Value 'a+b' at 'functionName'"},
		{"query", rest("GET", functions+"/f?Qualifier=%24LATEST&X-Amz-Date=x&Qualifie=y", ""), "", &lambdaapi.GetFunctionInput{FunctionName: "f", Qualifier: new("$LATEST")}, ""},
		{"query in other case", rest("GET", functions+"/f?qualifier=x", ""), "", &lambdaapi.GetFunctionInput{FunctionName: "f"}, ""},
		{"query twice", rest("GET", functions+"/f?Qualifier=1&Qualifier=1", ""), "", nil, "SerializationException: Member Qualifier is given more than once"},
		{"query unreadable", rest("GET", functions+"/f?Qualifier=%zz", ""), "", nil, "SerializationException: The query string cannot be read"},
		{"name of a parameter unreadable", rest("GET", functions+"/f?%zz=1", ""), "", nil, "SerializationException: The query string cannot be read"},
		{"query not UTF-8", rest("GET", functions+"/f?Qualifier=%ff", ""), "", nil, "SerializationException: Member Qualifier is not UTF-8"},
		{"path not UTF-8", rest("GET", functions+"/%ff", ""), "", nil, "SerializationException: Member FunctionName is not UTF-8"},
		{"many parameters", rest("GET", functions+"?"+strings.Repeat("a=b&", 10_001), ""), "", nil, "SerializationException: The request has too many parameters"},
		{"number", rest("GET", functions+"?MaxItems=7&Marker=", ""), "", &lambdaapi.ListFunctionsInput{MaxItems: new(int32(7)), Marker: new("")}, ""},
		{"no number", rest("GET", functions+"?MaxItems=x", ""), "", nil, "SerializationException: STRING_VALUE can not be converted to an Integer"},
		{"number out of range", rest("GET", functions+"?MaxItems=0", ""), "", nil, "ValidationException: 1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"list", rest("DELETE", "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Af?tagKeys=a+b&tagKeys=c", ""), "",
			&lambdaapi.UntagResourceInput{Resource: "arn:aws:lambda:eu-west-1:123456789012:function:f", TagKeys: []string{"a b", "c"}}, ""},
		{"list without elements", rest("DELETE", "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Af", ""), "", nil,
			"ValidationException: 1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: Member must not be null"},
		{"headers and payload", rest("POST", functions+"/f/invocations", "", "x-amz-log-type", "Tail", "X-Amz-Invocation-Type", "DryRun"), "\x00any bytes",
			&lambdaapi.InvokeInput{FunctionName: "f", LogType: new("Tail"), InvocationType: new("DryRun"), Payload: []byte("\x00any bytes")}, ""},
		{"no payload", rest("POST", functions+"/f/invocations", ""), "", &lambdaapi.InvokeInput{FunctionName: "f"}, ""},
		{"header twice", rest("POST", functions+"/f/invocations", "", "X-Amz-Log-Type", "Tail", "X-Amz-Log-Type", "None"), "", nil, "SerializationException: Member LogType is given more than once"},
		{"wrong header", rest("POST", functions+"/f/invocations", "", "X-Amz-Log-Type", "Head"), "", nil, "ValidationException: 1 validation error detected: Value 'Head' at 'logType' failed to satisfy constraint: Member must satisfy enum value set: [None, Tail]"},
		{"header not UTF-8", rest("POST", functions+"/f/invocations", "", "X-Amz-Client-Context", "\xff"), "", nil, "SerializationException: Member ClientContext is not UTF-8"},
		{"path and body", rest("PUT", functions+"/f/configuration", ""), `{"Timeout":3,"FunctionName":"g"}`,
			&lambdaapi.UpdateFunctionConfigurationInput{FunctionName: "f", Timeout: new(int32(3))}, ""},
		{"no body", rest("PUT", functions+"/f/configuration", ""), "", &lambdaapi.UpdateFunctionConfigurationInput{FunctionName: "f"}, ""},
		{"body where none belongs", rest("GET", functions+"/f", ""), "{{", &lambdaapi.GetFunctionInput{FunctionName: "f"}, ""},
		{"query in the body", rest("POST", functions+"/f/policy", ""), `{"StatementId":"s","Action":"lambda:*","Principal":"*","Qualifier":"1"}`,
			&lambdaapi.AddPermissionInput{FunctionName: "f", StatementId: "s", Action: "lambda:*", Principal: "*"}, ""},
		{"required", rest("POST", functions+"/f/policy", ""), "", nil, "ValidationException: 3 validation errors detected: Value null at 'statementId'"},
		{"no JSON", rest("PUT", functions+"/f/configuration", ""), `{"Timeout":`, nil, "SerializationException"},
		{"after JSON", rest("PUT", functions+"/f/configuration", ""), `{}{}`, nil, "SerializationException"},
		{"other type", rest("PUT", functions+"/f/configuration", ""), `{"Timeout":"3"}`, nil, "SerializationException: STRING_VALUE can not be converted to an Integer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			op, input, refusal := newRouter(t).Route(tt.req, []byte(tt.body))
			if refusal != nil {
				t.Fatal(refusal)
			}
			got, err := wire.DecodeRequest(op, tt.req, input)
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.err) {
					t.Fatalf("DecodeRequest() = %+v, %v, want %s", got, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("DecodeRequest() (-want +got):\n%s", diff)
			}
		})
	}
}

// The payload outlives the buffer that it arrived in.
func TestPayloadIsACopy(t *testing.T) {
	body := []byte(`{"a":1}`)
	req := rest("POST", functions+"/f/invocations", "")
	in, err := wire.DecodeRequest(lambdaapi.OpInvoke, req, body)
	if err != nil {
		t.Fatal(err)
	}
	clear(body)
	if got := string(in.(*lambdaapi.InvokeInput).Payload); got != `{"a":1}` {
		t.Errorf("payload %q", got)
	}
}

func TestRESTAnswers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		op     *api.Operation
		out    any
		status int
		header map[string]string
		body   string
	}{
		{"payload", lambdaapi.OpInvoke, &lambdaapi.InvokeOutput{StatusCode: new(int32(200)), Payload: []byte("null"), FunctionError: new("Unhandled"), ExecutedVersion: new("$LATEST")},
			200, map[string]string{"X-Amz-Function-Error": "Unhandled", "X-Amz-Executed-Version": "$LATEST"}, "null"},
		{"nothing", lambdaapi.OpInvoke, &lambdaapi.InvokeOutput{StatusCode: new(int32(204))}, 204, map[string]string{}, ""},
		{"status of the operation", lambdaapi.OpAddPermission, &lambdaapi.AddPermissionOutput{Statement: new("{}")}, 201, map[string]string{}, `{"Statement":"{}"}`},
		{"no members", lambdaapi.OpTagResource, nil, 204, map[string]string{}, ""},
		{"no output", lambdaapi.OpGetPolicy, nil, 200, map[string]string{}, "{}"},
		{"structure that several share", lambdaapi.OpCreateFunction, &lambdaapi.FunctionConfiguration{FunctionName: new("f")}, 201, map[string]string{}, `{"FunctionName":"f"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reply, header := wire.Reply{Op: tt.op}, map[string]string{}
			status := reply.Head(tt.out, func(name, value string) { header[name] = value })
			body := string(reply.AppendOutput(nil, tt.out))
			if status != tt.status || body != tt.body || reply.ContentType() != "application/json" {
				t.Errorf("%d %s, want %d %s", status, body, tt.status, tt.body)
			}
			if diff := cmp.Diff(tt.header, header); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
	for _, tt := range []struct {
		err   *api.Error
		front bool
		want  string
	}{
		{lambdaapi.ResourceNotFoundException.Errorf("no"), false, `404 {"Type":"User","Message":"no"}`},
		{lambdaapi.InvalidParameterValueException.Errorf("no"), false, `400 {"Type":"User","message":"no"}`},
		{lambdaapi.ServiceException.Errorf("no"), false, `500 {"Type":"Service","Message":"no"}`},
		{lambdaapi.RESTAccessDenied.Errorf("no"), false, `403 {"Type":"User","Message":"no"}`},
		{lambdaapi.ValidationException.Errorf("no"), false, `400 {"message":"no"}`},
		{lambdaapi.SerializationException.Errorf(""), true, `400 {"message":""}`},
	} {
		reply := wire.Reply{Op: lambdaapi.OpGetFunction}
		status, _, body := reply.RenderError(tt.err, tt.front)
		if got := strings.Join([]string{map[int]string{400: "400", 403: "403", 404: "404", 500: "500"}[status], string(body)}, " "); got != tt.want {
			t.Errorf("RenderError(%v) = %s, want %s", tt.err, got, tt.want)
		}
		if got := reply.ErrorType(tt.err); got != tt.err.Code.Name {
			t.Errorf("ErrorType = %s", got)
		}
	}
}

// FuzzRESTRequest checks that a request by path that is read says what it says in one
// place only, and that whatever is read keeps to its description.
func FuzzRESTRequest(f *testing.F) {
	f.Add("GET", functions+"/f", "Qualifier=1", "", "", "")
	f.Add("POST", functions+"/f/invocations", "", "Tail", "", `{"a":1}`)
	f.Add("DELETE", "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Af", "tagKeys=a&tagKeys=b", "", "", "")
	f.Add("POST", functions, "", "", "application/json", `{"FunctionName":"f","Role":"arn:aws:iam::123456789012:role/r","Code":{"ZipFile":"UEs="},"Environment":{"Variables":{"AB":"c"}}}`)
	f.Add("DELETE", functions+"/f/policy/%2e%2e", "RevisionId=x", "", "", "")
	f.Add("GET", functions+"/../functions//", "%zz", "\xff", "application/x-www-form-urlencoded", "Action=x")
	r := newRouter(f)
	f.Fuzz(func(t *testing.T, method, path, query, logType, contentType, body string) {
		req := httptest.NewRequest("GET", "/", nil)
		if err := setPath(req, path); err != nil {
			return
		}
		req.Method, req.URL.RawQuery = method, query
		if logType != "" {
			req.Header["X-Amz-Log-Type"] = []string{logType}
		}
		if contentType != "" {
			req.Header["Content-Type"] = []string{contentType}
		}
		op, input, refusal := r.Route(req, []byte(body))
		if refusal != nil || op.Service != lambdaapi.Service {
			return
		}
		if r.ByPath(req) != op || req.URL.Query().Has("Action") {
			t.Fatalf("%s %s?%s runs %s", method, path, query, op.Name)
		}
		in, err := wire.DecodeRequest(op, req, input)
		if err != nil {
			return
		}
		if err := wire.Validate(op, in); err != nil {
			t.Fatalf("%s %s?%s is read as what breaks its description: %v", method, path, query, err)
		}
	})
}

// setPath gives a request an escaped path, as net/http reads it.
func setPath(req *http.Request, escaped string) error {
	u, err := req.URL.Parse("/")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(escaped, "/") || strings.ContainsAny(escaped, "?#") {
		return http.ErrNotSupported
	}
	if u, err = u.Parse("http://x" + escaped); err != nil {
		return err
	}
	req.URL = u
	return nil
}
