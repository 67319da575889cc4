package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/rotation"
)

// The rotation functions that every keyturn server has.
const (
	mysqlFunction    = "keyturn-rotate-mysql"
	postgresFunction = "keyturn-rotate-postgres"
	redisFunction    = "keyturn-rotate-redis"
	managedFunction  = "keyturn-rotate-managed" // of the secrets that RDS manages
)

// functionFailure is what a rotation function answered instead of a result. Its
// class is empty where the function is no function of keyturn's.
type functionFailure struct {
	Message string         `json:"errorMessage"`
	Class   rotation.Class `json:"errorType"`
}

func (f *functionFailure) Error() string { return f.Message }

// invokeStep has a rotation function run one step for a secret, here or on AWS,
// and returns its answer. It is for the steps that keyturn's functions answer
// beyond AWS's. A failure of the function is a *functionFailure.
func (a *app) invokeStep(ctx context.Context, cfg aws.Config, function string, e rotation.Event) (rotation.Result, error) {
	payload, err := json.Marshal(e)
	if err != nil {
		return rotation.Result{}, err
	}
	out, err := lambda.NewFromConfig(cfg).Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, Payload: payload})
	if err != nil {
		return rotation.Result{}, fmt.Errorf("invoking the function %s: %w", function, err)
	}
	if out.FunctionError != nil {
		return rotation.Result{}, failureOf(function, out.Payload)
	}
	var result *rotation.Result // AWS's templates answer null to what they do not know
	if json.Unmarshal(out.Payload, &result) != nil || result == nil {
		return rotation.Result{}, notOurs(function, e.Step)
	}
	return *result, nil
}

func failureOf(function string, payload []byte) error {
	f := &functionFailure{}
	if json.Unmarshal(payload, f) != nil || f.Message == "" {
		f.Message = fmt.Sprintf("the function %s failed without saying why", function)
	}
	return f
}

// notOurs is the error for an answer that no function of keyturn's gives.
func notOurs(function, step string) error {
	return guided{
		err:  fmt.Errorf("the function %s does not know the step %s", function, step),
		hint: "Only keyturn's own rotation functions do; \"rotation plan\", \"adopt\" and \"repair\" take one by --function.",
	}
}

// functionOf returns the function that rotates a secret: the one that is asked
// for, or its own. A secret that RDS manages shows none, but has one.
func functionOf(s *secretsmanager.DescribeSecretOutput, asked string) (string, error) {
	switch {
	case asked != "":
		return asked, nil
	case s.RotationLambdaARN != nil:
		return *s.RotationLambdaARN, nil
	case aws.ToString(s.OwningService) == "rds":
		return managedFunction, nil
	}
	return "", guided{
		err: fmt.Errorf("no rotation function is associated with the secret %s", aws.ToString(s.Name)),
		hint: "Configure the rotation by \"keyturn rotation adopt\" or \"keyturn secret rotate\". \"rotation plan\" and \"repair\"\n" +
			"also take a function by --function: " + mysqlFunction + ", " + postgresFunction + ", " + redisFunction + " or one of your own.",
		code: exitNotFound,
	}
}
