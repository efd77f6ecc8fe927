package wire_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/api/smapi"
	"arca/internal/api/stsapi"
	"arca/internal/wire"
)

// loopback answers the SDK's requests with router and codec.
type loopback struct {
	router *wire.Router
	op     *api.Operation // what the request named
	in     any            // what was read
	out    any            // what is answered, unless
	err    *api.Error     // is set
	front  bool
}

func (l *loopback) Do(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	op, input, refusal := l.router.Route(req, body)
	if refusal != nil {
		return nil, refusal
	}
	var in any
	switch op.Service.Protocol {
	case api.Query:
		in, refusal = wire.DecodeForm(op.Input, input)
	case api.RESTJSON:
		in, refusal = wire.DecodeREST(op, req, input)
	default:
		in, refusal = wire.Decode(op.Input, input)
	}
	if refusal != nil {
		return nil, refusal
	}
	l.op, l.in = op, in
	reply := wire.Reply{Op: op, RequestID: "EXAMPLE1"}
	header := http.Header{wire.HeaderRequestID: {"EXAMPLE1"}}
	var status int
	contentType, answer := reply.ContentType(), []byte(nil)
	if l.err != nil {
		status, contentType, answer = reply.RenderError(l.err, l.front)
		header.Set(wire.HeaderErrorType, reply.ErrorType(l.err))
	} else {
		status = reply.Head(l.out, header.Set)
		answer = reply.AppendOutput(nil, l.out)
	}
	header.Set("Content-Type", contentType)
	return &http.Response{StatusCode: status, Request: req, Body: io.NopCloser(bytes.NewReader(answer)), Header: header}, nil
}

// newClients returns the published clients.
func newClients(l *loopback) map[*api.Service]any {
	region, retryer := "eu-west-1", aws.NopRetryer{}
	// Long enough for an HMAC key in FIPS 140-3 mode.
	creds := credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "")
	return map[*api.Service]any{
		smapi.Service:     secretsmanager.New(secretsmanager.Options{Region: region, HTTPClient: l, Retryer: retryer, Credentials: creds}),
		iamapi.Service:    iam.New(iam.Options{Region: region, HTTPClient: l, Retryer: retryer, Credentials: creds}),
		lambdaapi.Service: lambda.New(lambda.Options{Region: region, HTTPClient: l, Retryer: retryer, Credentials: creds}),
		stsapi.Service:    sts.New(sts.Options{Region: region, HTTPClient: l, Retryer: retryer, Credentials: creds}),
	}
}

// TestSDKUnderstandsUs sends random inputs of every operation with the published
// client, and answers with random outputs. What either side reads must be what the
// other one wrote.
func TestSDKUnderstandsUs(t *testing.T) {
	l := &loopback{router: newRouter(t)}
	for s, client := range newClients(l) {
		understood(t, l, s, reflect.ValueOf(client))
	}
}

func understood(t *testing.T, l *loopback, s *api.Service, client reflect.Value) {
	for _, op := range s.Operations {
		t.Run(s.Name+"."+op.Name, func(t *testing.T) {
			method := client.MethodByName(op.Name)
			rapid.Check(t, func(t *rapid.T) {
				in, out := reflect.New(op.Input.Type), reflect.New(op.Output.Type)
				fill(t, op.Input, in.Elem())
				fill(t, op.Output, out.Elem())
				if s.Protocol == api.Query {
					asFormCan(op.Input, in.Elem())
					asXMLCan(op.Output, out.Elem())
				}
				if s.Protocol == api.RESTJSON {
					asRESTCan(op, in.Elem(), out.Elem())
				}
				for _, f := range op.Input.Fields {
					fv := in.Elem().Field(f.Index)
					if f.Token {
						// The client would make one up.
						fv.Set(reflect.ValueOf(ptr("EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE")))
					}
					if f.Required && fv.Kind() == reflect.Slice && fv.IsNil() {
						fv.Set(reflect.MakeSlice(fv.Type(), 0, 0))
					}
				}
				l.op, l.in, l.out = nil, nil, out.Interface()

				theirIn := reflect.New(method.Type().In(1).Elem())
				toSDK(op.Input, in.Elem(), theirIn.Elem())
				results := method.Call([]reflect.Value{reflect.ValueOf(context.Background()), theirIn})
				if err, _ := results[1].Interface().(error); err != nil {
					t.Fatal(err)
				}
				if l.op != op {
					t.Fatalf("the request for %s was read as one for %v", op.Name, l.op)
				}
				if diff := same(withoutZeros(op.Input, in.Elem()), withoutZeros(op.Input, reflect.ValueOf(l.in).Elem())); diff != "" {
					t.Fatalf("input (-sent +read):\n%s", diff)
				}
				theirOut := reflect.New(results[0].Type().Elem())
				toSDK(op.Output, out.Elem(), theirOut.Elem())
				for _, f := range op.Output.Fields {
					got, want := results[0].Elem().FieldByName(goName(f)), theirOut.Elem().FieldByName(goName(f))
					if diff := cmp.Diff(want.Interface(), got.Interface(), sdkValues...); diff != "" {
						t.Fatalf("output %s (-sent +read):\n%s", f.Name, diff)
					}
				}
			})
		})
	}
}

// sdkValues compares the SDK's types. It reads times through a float64 and may lose
// a millisecond.
var sdkValues = []cmp.Option{
	cmpopts.EquateApproxTime(time.Millisecond),
	cmp.Exporter(func(reflect.Type) bool { return true }),
}

// toSDK copies a value of ours into the SDK's type for the same shape.
func toSDK(sh *api.Shape, ours, theirs reflect.Value) {
	if ours.Kind() == reflect.Pointer {
		if ours.IsNil() {
			return
		}
		ours = ours.Elem()
	}
	if theirs.Kind() == reflect.Pointer {
		theirs.Set(reflect.New(theirs.Type().Elem()))
		theirs = theirs.Elem()
	}
	if theirs.Type() == reflect.TypeFor[iamtypes.PolicyIdentifier]() {
		theirs.Set(reflect.ValueOf(policyIdentifier(ours.Interface().(iamapi.PolicyIdentifier))))
		return
	}
	switch sh.Kind {
	case api.Structure:
		for _, f := range sh.Fields {
			toSDK(f.Shape, ours.Field(f.Index), theirs.FieldByName(goName(f)))
		}
	case api.List:
		if ours.IsNil() {
			return
		}
		theirs.Set(reflect.MakeSlice(theirs.Type(), ours.Len(), ours.Len()))
		for i := range ours.Len() {
			toSDK(sh.Elem, ours.Index(i), theirs.Index(i))
		}
	case api.Map:
		if ours.IsNil() {
			return
		}
		theirs.Set(reflect.MakeMap(theirs.Type()))
		for it := ours.MapRange(); it.Next(); {
			v := reflect.New(theirs.Type().Elem()).Elem()
			toSDK(sh.Elem, it.Value(), v)
			theirs.SetMapIndex(it.Key(), v)
		}
	case api.Timestamp:
		theirs.Set(reflect.ValueOf(ours.Interface().(time.Time)))
	case api.Blob:
		if !ours.IsNil() {
			theirs.SetBytes(ours.Bytes())
		}
	default:
		theirs.Set(ours.Convert(theirs.Type()))
	}
}

func goName(f api.Field) string { return strings.ToUpper(f.Name[:1]) + f.Name[1:] }

// policyIdentifier makes the SDK's union, of which a value has one member.
func policyIdentifier(p iamapi.PolicyIdentifier) iamtypes.PolicyIdentifier {
	switch {
	case p.PolicyType != nil:
		return &iamtypes.PolicyIdentifierMemberPolicyType{Value: iamtypes.PolicyIdentifierPolicyType(*p.PolicyType)}
	case p.PolicyArn != nil:
		return &iamtypes.PolicyIdentifierMemberPolicyArn{Value: *p.PolicyArn}
	}
	return &iamtypes.PolicyIdentifierMemberInlinePolicyIdentifier{Value: iamtypes.InlinePolicyIdentifierType{
		PolicyName: &p.InlinePolicyIdentifier.PolicyName, AttachmentName: &p.InlinePolicyIdentifier.AttachmentName,
		AttachmentType: iamtypes.AttachmentType(p.InlinePolicyIdentifier.AttachmentType),
	}}
}

// asFormCan changes an input to what the SDK sends in a form: enumerations have a
// value, a union has one member, and no element of a list is without any.
func asFormCan(sh *api.Shape, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch sh.Kind {
	case api.Structure:
		for _, f := range sh.Fields {
			fv := v.Field(f.Index)
			if fv.Kind() == reflect.Pointer && !fv.IsNil() {
				fv = fv.Elem()
			}
			if len(f.Shape.Enum) > 0 && fv.Kind() == reflect.String {
				fv.SetString(f.Shape.Enum[0])
			}
			asFormCan(f.Shape, fv)
		}
	case api.List:
		for i := range v.Len() {
			e := v.Index(i)
			asFormCan(sh.Elem, e)
			if p, ok := e.Addr().Interface().(*iamapi.PolicyIdentifier); ok {
				*p = iamapi.PolicyIdentifier{PolicyType: p.PolicyType, PolicyArn: p.PolicyArn, InlinePolicyIdentifier: p.InlinePolicyIdentifier}
				switch {
				case p.InlinePolicyIdentifier != nil:
					p.PolicyType, p.PolicyArn = nil, nil
				case p.PolicyArn != nil:
					p.PolicyType = nil
				default:
					p.PolicyType = ptr("inline")
				}
			}
			if sh.Elem.Kind == api.Structure && e.IsZero() && e.Field(0).Kind() == reflect.Pointer {
				e.Field(0).Set(reflect.ValueOf(ptr("")))
			} else if sh.Elem.Kind == api.Structure && e.IsZero() && e.Field(0).Kind() == reflect.Slice {
				e.Field(0).Set(reflect.MakeSlice(e.Field(0).Type(), 0, 0))
			}
		}
	}
}

// escaped is s as signatures have it, where a space is not a plus sign.
func escaped(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// asRESTCan changes an input and an output to what REST-JSON can say: a part of the path
// is not empty, headers hold no control characters, and the status is one of success.
func asRESTCan(op *api.Operation, in, out reflect.Value) {
	change := func(f *api.Field, v reflect.Value) {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return
			}
			if v.Elem().IsZero() && (f.Place == api.InHeader || len(f.Shape.Enum) > 0) {
				v.SetZero()
				return
			}
			v = v.Elem()
		}
		switch {
		case f.Place == api.InQuery && v.Kind() == reflect.Slice:
			if v.Len() == 0 {
				v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			}
			// As the SDK sends them: in the order of what they are escaped to, as
			// signatures have it.
			slices.SortFunc(v.Interface().([]string), func(a, b string) int { return strings.Compare(escaped(a), escaped(b)) })
		case f.Place == api.InPath:
			v.SetString("a/%. ü" + v.String())
		case f.Place == api.InHeader:
			v.SetString("h" + url.QueryEscape(v.String()))
		case f.Place == api.AsStatus:
			v.SetInt(200 + (v.Int()&0x7f)%100)
		case f.Place == api.AsBody && v.Len() == 0:
			v.SetZero()
		}
	}
	asSDKWants(op.Input, in)
	for i := range op.Input.Fields {
		f := &op.Input.Fields[i]
		change(f, in.Field(f.Index))
	}
	for i := range op.Output.Fields {
		f := &op.Output.Fields[i]
		v := out.Field(f.Index)
		if f.Place == api.AsStatus && v.IsNil() {
			v.Set(reflect.ValueOf(new(int32(op.Status))))
		}
		change(f, v)
	}
}

// asSDKWants gives an input what the SDK would not send it without: every required
// structure and a value of each required enumeration.
func asSDKWants(sh *api.Shape, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch sh.Kind {
	case api.Structure:
		for _, f := range sh.Fields {
			fv := v.Field(f.Index)
			switch {
			case f.Required && fv.Kind() == reflect.Pointer && fv.IsNil():
				fv.Set(reflect.New(fv.Type().Elem()))
			case f.Required && fv.Kind() == reflect.Slice && fv.IsNil():
				fv.Set(reflect.MakeSlice(fv.Type(), 0, 0))
			case f.Required && fv.Kind() == reflect.Map && fv.IsNil():
				fv.Set(reflect.MakeMap(fv.Type()))
			case f.Required && len(f.Shape.Enum) > 0:
				fv.SetString(f.Shape.Enum[0])
			case len(f.Shape.Enum) > 0 && fv.Kind() == reflect.Pointer && !fv.IsNil() && fv.Elem().IsZero():
				fv.SetZero()
			}
			asSDKWants(f.Shape, fv)
		}
	case api.List:
		for i := range v.Len() {
			asSDKWants(sh.Elem, v.Index(i))
		}
	}
}

// asXMLCan changes an output to what the Query protocol can say: no control
// characters, whole seconds, and no difference between a required list that is nil
// and one that is empty.
func asXMLCan(sh *api.Shape, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch sh.Kind {
	case api.Structure:
		for _, f := range sh.Fields {
			fv := v.Field(f.Index)
			if f.Required && fv.Kind() == reflect.Slice && fv.IsNil() {
				fv.Set(reflect.MakeSlice(fv.Type(), 0, 0))
			}
			asXMLCan(f.Shape, fv)
		}
	case api.List:
		for i := range v.Len() {
			asXMLCan(sh.Elem, v.Index(i))
		}
	case api.Map:
		for _, k := range v.MapKeys() {
			key, elem := reflect.New(k.Type()).Elem(), reflect.New(v.Type().Elem()).Elem()
			key.Set(k)
			elem.Set(v.MapIndex(k))
			asXMLCan(sh.Key, key)
			asXMLCan(sh.Elem, elem)
			v.SetMapIndex(k, reflect.Value{})
			v.SetMapIndex(key, elem)
		}
	case api.String:
		v.SetString(strings.Map(func(r rune) rune {
			if r < ' ' && !strings.ContainsRune("\t\n\r", r) || r == 0xFFFE || r == 0xFFFF {
				return 0xFFFD
			}
			return r
		}, v.String()))
	case api.Timestamp:
		v.Set(reflect.ValueOf(v.Interface().(time.Time).Truncate(time.Second)))
	}
}

// withoutZeros returns a copy in which the values that the SDK cannot send are
// absent: empty enum values and plain members that are zero.
func withoutZeros(sh *api.Shape, v reflect.Value) any {
	out := reflect.New(v.Type())
	out.Elem().Set(v)
	for _, f := range sh.Fields {
		fv := out.Elem().Field(f.Index)
		if fv.Kind() == reflect.Pointer && !fv.IsNil() && (f.Plain || len(f.Shape.Enum) > 0) && fv.Elem().IsZero() {
			fv.SetZero()
		}
		if f.Shape.Kind == api.List && f.Shape.Elem.Kind == api.Structure && fv.Len() > 0 {
			list := reflect.MakeSlice(fv.Type(), fv.Len(), fv.Len())
			for i := range fv.Len() {
				list.Index(i).Set(reflect.ValueOf(withoutZeros(f.Shape.Elem, fv.Index(i))).Elem())
			}
			fv.Set(list)
		}
	}
	return out.Interface()
}

// TestSDKUnderstandsErrors sends every code and reads it back with the client. A code
// that the operation lists becomes the SDK's type for it.
func TestSDKUnderstandsErrors(t *testing.T) {
	l := &loopback{router: newRouter(t)}
	for s, client := range newClients(l) {
		t.Run(s.Name, func(t *testing.T) {
			codes := map[*api.Code]*api.Operation{s.AccessDenied: nil, s.Invalid: nil, s.Throttled: nil, s.InternalError: nil}
			switch s.Protocol {
			case api.JSON11:
				codes[api.SerializationException], codes[api.UnknownOperationException] = nil, nil
			case api.RESTJSON:
				codes[api.SerializationException] = nil
			default:
				codes[api.MalformedInput], codes[api.MalformedQueryString] = nil, nil
			}
			for _, op := range s.Operations {
				for _, c := range op.Errors {
					codes[c] = op
				}
			}
			for c, op := range codes {
				if op == nil {
					op = s.Operations[0]
				}
				method := reflect.ValueOf(client).MethodByName(op.Name)
				in := reflect.New(op.Input.Type)
				for _, f := range op.Input.Fields {
					if fv := in.Elem().Field(f.Index); f.Required && fv.Kind() == reflect.Slice {
						fv.Set(reflect.MakeSlice(fv.Type(), 0, 0))
					}
				}
				asFormCan(op.Input, in.Elem())
				if s.Protocol == api.RESTJSON {
					asRESTCan(op, in.Elem(), reflect.New(op.Output.Type).Elem())
				}
				theirs := reflect.New(method.Type().In(1).Elem())
				toSDK(op.Input, in.Elem(), theirs.Elem())
				for _, l.front = range []bool{false, true} {
					l.err = c.Errorf("a \"text\" for <%s> & others", c.Name)
					err, _ := method.Call([]reflect.Value{reflect.ValueOf(context.Background()), theirs})[1].Interface().(error)
					got, ok := errors.AsType[smithy.APIError](err)
					if !ok || got.ErrorCode() != c.Name || got.ErrorMessage() != l.err.Message {
						t.Errorf("%s, front end %v: the client reads %v, want %v", op.Name, l.front, err, l.err)
					}
				}
			}
		})
	}
}
