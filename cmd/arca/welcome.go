package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"arca/internal/app"
)

const (
	welcomeName  = "arca/welcome"
	welcomeValue = "it works"
)

// greet stores and reads back a secret through the front door, as any client would,
// and prints how others can do the same.
func greet(ctx context.Context, out io.Writer, url string) error {
	client := secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(url),
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider(app.DevAccessKeyID, app.DevSecretAccessKey, ""),
	})
	_, err := client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String(welcomeName), SecretString: aws.String(welcomeValue),
	})
	var exists *types.ResourceExistsException
	if err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("store %s: %w", welcomeName, err)
	}
	got, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(welcomeName)})
	if err != nil {
		return fmt.Errorf("read %s back: %w", welcomeName, err)
	}
	_, err = fmt.Fprintf(out, `
Stored the secret %[2]q and read it back: %[3]q

Shell and AWS CLI:
  export AWS_ENDPOINT_URL=%[1]s AWS_ACCESS_KEY_ID=%[4]s AWS_SECRET_ACCESS_KEY=%[5]s AWS_DEFAULT_REGION=us-east-1
  aws secretsmanager get-secret-value --secret-id %[2]s --endpoint-url $AWS_ENDPOINT_URL

Python:
  boto3.client("secretsmanager", endpoint_url="%[1]s", region_name="us-east-1",
               aws_access_key_id="%[4]s", aws_secret_access_key="%[5]s")

Go:
  secretsmanager.New(secretsmanager.Options{BaseEndpoint: aws.String("%[1]s"), Region: "us-east-1",
      Credentials: credentials.NewStaticCredentialsProvider("%[4]s", "%[5]s", "")})

JavaScript:
  new SecretsManagerClient({ endpoint: "%[1]s", region: "us-east-1",
      credentials: { accessKeyId: "%[4]s", secretAccessKey: "%[5]s" } })

Stop with Ctrl-C.
`, url, welcomeName, aws.ToString(got.SecretString), app.DevAccessKeyID, app.DevSecretAccessKey)
	return err
}
