"""Runs a Python handler by the Lambda Runtime API: loads module.function from
the function's code, and hands it one event after the other."""

import http.client
import importlib
import json
import logging
import os
import sys
import time
import traceback

ROOT = "/2018-06-01/runtime/"


class Failure(Exception):
    """A function that can't be used, in Lambda's words."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Context:
    """What a handler gets as its second argument."""

    def __init__(self, headers):
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.identity = None
        self.client_context = None
        self._deadline_ms = int(headers["Lambda-Runtime-Deadline-Ms"])

    def get_remaining_time_in_millis(self):
        return max(self._deadline_ms - int(time.time() * 1000), 0)

    def log(self, message):
        print(message)


class RequestId(logging.Filter):
    """Gives log records the id of the request at hand."""

    current = ""

    def filter(self, record):
        record.aws_request_id = RequestId.current
        return True


def set_up_logging():
    handler = logging.StreamHandler(sys.stdout)
    form = logging.Formatter("[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S")
    form.converter = time.gmtime
    handler.setFormatter(form)
    handler.addFilter(RequestId())
    logging.getLogger().addHandler(handler)


def load(name):
    module_name, dot, function = name.rpartition(".")
    if not dot:
        raise Failure("Runtime.MalformedHandlerName", "Bad handler '%s': not enough values to unpack (expected 2, got 1)" % name)
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as e:
        raise Failure("Runtime.ImportModuleError", "Unable to import module '%s': %s" % (module_name, e)) from e
    except SyntaxError as e:
        raise Failure("Runtime.UserCodeSyntaxError", "Syntax error in module '%s': %s" % (module_name, e)) from e
    if not hasattr(module, function):
        raise Failure("Runtime.HandlerNotFound", "Handler '%s' missing on module '%s'" % (function, module_name))
    return getattr(module, function)


def frames(error):
    """The stack of an error, without the frames of this file and of importing."""
    own = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__ and "importlib" not in f.filename]
    return traceback.format_list(own)


def describe(error, request_id=""):
    kind = error.kind if isinstance(error, Failure) else type(error).__name__
    told = {"errorMessage": str(error), "errorType": kind, "requestId": request_id, "stackTrace": frames(error)}
    print("[ERROR] %s: %s\n%s" % (kind, error, "".join(told["stackTrace"])))
    return json.dumps(told).encode(), {"Lambda-Runtime-Function-Error-Type": kind, "Content-Type": "application/json"}


class Api:
    def __init__(self):
        self.connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

    def call(self, method, path, body=None, headers=None):
        self.connection.request(method, ROOT + path, body, headers or {})
        response = self.connection.getresponse()
        return response, response.read()


def serialize(value):
    try:
        return json.dumps(value).encode()
    except (TypeError, ValueError) as e:
        raise Failure("Runtime.MarshalError", "Unable to marshal response: %s" % e) from e


def serve_one(api, handler):
    response, event = api.call("GET", "invocation/next")
    context = Context(response.headers)
    RequestId.current = context.aws_request_id
    path = "invocation/%s/" % context.aws_request_id
    try:
        answer = serialize(handler(json.loads(event), context))
    except Exception as e:  # whatever a handler raises is its answer
        api.call("POST", path + "error", *describe(e, context.aws_request_id))
        return
    api.call("POST", path + "response", answer, {"Content-Type": "application/json"})


def main():
    api = Api()
    set_up_logging()
    sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
    try:
        handler = load(os.environ["_HANDLER"])
    except Exception as e:
        api.call("POST", "init/error", *describe(e))
        sys.exit(1)
    while True:
        serve_one(api, handler)


if __name__ == "__main__":
    main()
