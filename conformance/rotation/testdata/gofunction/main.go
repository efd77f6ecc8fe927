// Command gofunction is a rotation function in Go: it makes new passwords for a secret
// that is a JSON object, and has no server to set them in.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

type event struct {
	Step               string
	SecretID           string `json:"SecretId"`
	ClientRequestToken string
	RotationToken      string
}

type rotator struct{ *secretsmanager.Client }

func (r rotator) handle(ctx context.Context, e event) error {
	switch e.Step {
	case "createSecret":
		return r.create(ctx, e)
	case "setSecret", "testSecret":
		fmt.Println("nothing to do in", e.Step)
		return nil
	case "finishSecret":
		return r.finish(ctx, e)
	}
	return fmt.Errorf("no such step: %q", e.Step)
}

func (r rotator) create(ctx context.Context, e event) error {
	_, err := r.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &e.SecretID, VersionId: &e.ClientRequestToken, VersionStage: aws.String("AWSPENDING")})
	if _, none := errors.AsType[*types.ResourceNotFoundException](err); err == nil || !none {
		return err
	}
	current, err := r.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &e.SecretID})
	if err != nil {
		return err
	}
	var value map[string]any
	if err := json.Unmarshal([]byte(aws.ToString(current.SecretString)), &value); err != nil {
		return errors.New("the value is not a JSON object")
	}
	password, err := r.GetRandomPassword(ctx, &secretsmanager.GetRandomPasswordInput{PasswordLength: aws.Int64(40), ExcludePunctuation: aws.Bool(true)})
	if err != nil {
		return err
	}
	value["password"] = *password.RandomPassword
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = r.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &e.SecretID, ClientRequestToken: &e.ClientRequestToken, SecretString: aws.String(string(text)), VersionStages: []string{"AWSPENDING"},
		RotationToken: &e.RotationToken,
	})
	return err
}

func (r rotator) finish(ctx context.Context, e event) error {
	described, err := r.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &e.SecretID})
	if err != nil {
		return err
	}
	for version, stages := range described.VersionIdsToStages {
		if !slices.Contains(stages, "AWSCURRENT") || version == e.ClientRequestToken {
			continue
		}
		_, err = r.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: &e.SecretID, VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: &e.ClientRequestToken, RemoveFromVersionId: &version,
		})
	}
	return err
}

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		panic(err)
	}
	lambda.Start(rotator{secretsmanager.NewFromConfig(cfg)}.handle)
}
