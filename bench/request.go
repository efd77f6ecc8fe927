package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"arca/internal/app"
)

const region = "us-east-1"

// userAgent is what an ordinary client sends: it is in every audit record.
const userAgent = "Boto3/1.40.1 md/Botocore#1.40.1 ua/2.1 os/linux md/arch#x86_64 lang/python#3.13.1"

// service is one of AWS's services, by its name in the scope of signatures.
type service string

const (
	secretsManager = service("secretsmanager")
	kms            = service("kms")
	sts            = service("sts")
)

// caller is who sends requests to a server that speaks AWS's protocols, and to which
// region.
type caller struct {
	addr   string
	tls    bool
	region string
	creds  aws.Credentials
}

// rootOf is the root user of a server that this program has set up.
func rootOf(p *process) caller {
	return caller{
		addr: p.addr, tls: p.tls, region: region,
		creds: aws.Credentials{AccessKeyID: app.DevAccessKeyID, SecretAccessKey: app.DevSecretAccessKey},
	}
}

func (c caller) url() string {
	if c.tls {
		return "https://" + c.addr
	}
	return "http://" + c.addr
}

// signed makes one signed request. STS is asked in AWS's Query form, with in of type
// url.Values, the others in JSON.
func (c caller) signed(s service, operation string, in any) (*http.Request, error) {
	var body []byte
	contentType := "application/x-amz-json-1.1"
	if form, ok := in.(url.Values); ok {
		form.Set("Action", operation)
		form.Set("Version", "2011-06-15")
		body, contentType = []byte(form.Encode()), "application/x-www-form-urlencoded; charset=utf-8"
	} else {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequest(http.MethodPost, c.url()+"/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", userAgent)
	switch s {
	case kms:
		req.Header.Set("X-Amz-Target", "TrentService."+operation)
	case secretsManager:
		req.Header.Set("X-Amz-Target", "secretsmanager."+operation)
	}
	sum := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(context.Background(), c.creds, req, hex.EncodeToString(sum[:]), string(s), c.region, time.Now())
	return req, err
}

// request makes the bytes of one signed request.
func (c caller) request(s service, operation string, in any) ([]byte, error) {
	req, err := c.signed(s, operation, in)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// call makes a request that is not measured and reads its answer.
func (c caller) call(s service, operation string, in, out any) error {
	req, err := c.signed(s, operation, in)
	if err != nil {
		return err
	}
	body, err := fetch(req)
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return json.Unmarshal(body, out)
}

// trusting talks to servers that this program has started itself, with certificates
// that nobody else has signed.
func trusting() *http.Client {
	return &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
}

// fetch returns the body of an answer that is good.
func fetch(req *http.Request) ([]byte, error) {
	resp, err := trusting().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// request makes the bytes of one request that the root user of a server has signed.
func (s service) request(addr, operation string, in any) ([]byte, error) {
	return rootOf(&process{addr: addr}).request(s, operation, in)
}

func token() string {
	return fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())
}
