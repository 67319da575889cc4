package wire

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyturn/keyturn/internal/iam"
)

const stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

func stsService() Service {
	return Service{Name: "sts", Protocol: Query, Version: "2011-06-15", Namespace: stsNamespace, Ops: []Op{
		answering[sts.GetCallerIdentityInput]("GetCallerIdentity", &sts.GetCallerIdentityOutput{Account: aws.String("1")}).ForEveryone(),
		answering[sts.GetAccessKeyInfoInput]("GetAccessKeyInfo", &sts.GetAccessKeyInfoOutput{Account: aws.String("1")}),
	}}
}

// What is for everyone needs no permission, and what stands beside it does.
func TestForEveryone(t *testing.T) {
	nobody := sts.NewFromConfig(newHouse(t, stsService()).config(iam.User(testAccount, "nobody")))
	if _, err := nobody.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil {
		t.Error(err)
	}
	_, err := nobody.GetAccessKeyInfo(t.Context(), &sts.GetAccessKeyInfoInput{AccessKeyId: aws.String("AKIAIOSFODNN7EXAMPLE")})
	if err == nil {
		t.Error("who has no permission was answered")
	}
}

func TestQueryNamespace(t *testing.T) {
	h := openHouse(t, rdsService(answering[note]("A", &note{})), stsService())
	auth := "Authorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/sts/aws4_request"
	checkAnswer(t, h.send("POST", "/", "Action=GetCallerIdentity&Version=2011-06-15", formHeader, auth), 200,
		`<GetCallerIdentityResponse xmlns="`+stsNamespace+`">`)
	checkAnswer(t, h.send("POST", "/", "Action=AssumeRole&Version=2011-06-15", formHeader, auth), 400,
		`<ErrorResponse xmlns="`+stsNamespace+`">`, "<Code>InvalidAction</Code>")
	checkAnswer(t, h.send("POST", "/", "Action=A&Version=2014-10-31", formHeader), 200, `xmlns="http://rds.amazonaws.com/doc/2014-10-31/"`)
}
