"""Runs a Python handler of AWS Lambda: takes events from the Runtime API, calls the
handler, sends back what it returns or how it failed. One event at a time."""

import decimal
import http.client
import importlib
import importlib.util
import json
import logging
import os
import sys
import time
import traceback
import types

API = "/2018-06-01/runtime/"
OWN = os.path.abspath(__file__)


class RuntimeFailure(Exception):
    """A failure that has a type of the runtime instead of that of an exception."""

    def __init__(self, error_type, message, trace=None):
        super().__init__(message)
        self.body = {"errorMessage": message, "errorType": error_type, "requestId": "", "stackTrace": trace or []}


class Client:
    """One kept connection to the Runtime API."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address)

    def next(self):
        self.connection.request("GET", API + "invocation/next")
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(1)
        return answer.headers, body

    def post(self, path, body, headers=None):
        self.connection.request("POST", API + path, body, headers or {"Content-Type": "application/json"})
        self.connection.getresponse().read()


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
        self.identity = types.SimpleNamespace(cognito_identity_id=None, cognito_identity_pool_id=None)
        self.client_context = client_context(headers.get("Lambda-Runtime-Client-Context"))
        self._deadline_ms = int(headers["Lambda-Runtime-Deadline-Ms"])

    def get_remaining_time_in_millis(self):
        return max(self._deadline_ms - int(time.time() * 1000), 0)

    def log(self, message):
        sys.stdout.write(str(message))


def client_context(text):
    if not text:
        return None
    given = json.loads(text)
    client = given.get("client")
    return types.SimpleNamespace(
        custom=given.get("custom"), env=given.get("env"), client=types.SimpleNamespace(**client) if client else None
    )


class LogHandler(logging.Handler):
    """Writes log records as Lambda does: level, time, request id, message."""

    request_id = ""

    def emit(self, record):
        sys.stdout.write(self.format(record))

    def format(self, record):
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = super().format(record)
        return "[%s]\t%s.%03dZ\t%s\t%s\n" % (record.levelname, at, record.msecs, self.request_id, text)


class OldClients:
    """Makes a botocore from before AWS_ENDPOINT_URL (1.31), such as that of Debian 12, heed
    it: it would call AWS with the credentials of this server instead."""

    wanted = "botocore.session"

    def find_spec(self, name, path=None, target=None):
        if name != self.wanted:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (load(module), self.adapt(module))
        return spec

    @staticmethod
    def adapt(module):
        version = tuple(int(n) for n in sys.modules["botocore"].__version__.split(".")[:2])
        if version >= (1, 31):
            return
        create = module.Session.create_client

        def create_client(self, service_name, region_name=None, api_version=None, use_ssl=True, verify=None, endpoint_url=None, *rest, **more):
            if endpoint_url is None:
                own = "AWS_ENDPOINT_URL_" + service_name.upper().replace("-", "_")
                endpoint_url = os.environ.get(own) or os.environ.get("AWS_ENDPOINT_URL")
            return create(self, service_name, region_name, api_version, use_ssl, verify, endpoint_url, *rest, **more)

        module.Session.create_client = create_client


def encode(value):
    def other(obj):
        if isinstance(obj, decimal.Decimal):
            return int(obj) if obj == obj.to_integral_value() else float(obj)
        raise TypeError("Object of type %s is not JSON serializable" % type(obj).__name__)

    return json.dumps(value, default=other, ensure_ascii=False).encode("utf-8", "surrogatepass")


def frames_of(tb):
    """The lines of a trace without those of this file and of the import machinery."""
    summary = [f for f in traceback.extract_tb(tb) if f.filename != OWN and not f.filename.startswith("<frozen importlib")]
    summary = [f for f in summary if f.filename != importlib.__file__]
    return traceback.format_list(summary)


def describe(error, request_id=""):
    if isinstance(error, RuntimeFailure):
        return dict(error.body, requestId=request_id)
    return {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "requestId": request_id,
        "stackTrace": frames_of(error.__traceback__),
    }


def show(body):
    """Prints a failure for the log."""
    text = "[ERROR] %s: %s\n" % (body["errorType"], body["errorMessage"])
    if body["stackTrace"]:
        text += "Traceback (most recent call last):\n" + "".join(body["stackTrace"])
    sys.stdout.write(text)
    sys.stdout.flush()


def load(handler):
    module_name, dot, function_name = handler.rpartition(".")
    if not dot or not module_name:
        raise RuntimeFailure(
            "Runtime.MalformedHandlerName", "Bad handler '%s': not enough values to unpack (expected 2, got 1)" % handler
        )
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise RuntimeFailure(
            "Runtime.ImportModuleError", "Unable to import module '%s': %s" % (module_name, error), frames_of(error.__traceback__)
        ) from None
    except SyntaxError as error:
        where = '  File "%s" Line %s\n    %s\n' % (error.filename, error.lineno, (error.text or "").strip())
        raise RuntimeFailure(
            "Runtime.UserCodeSyntaxError", "Syntax error in module '%s': %s" % (module_name, error), [where]
        ) from None
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise RuntimeFailure(
            "Runtime.HandlerNotFound", "Handler '%s' missing on module '%s'" % (function_name, module_name)
        ) from None


def parse_event(body):
    try:
        return json.loads(body)
    except ValueError as error:
        raise RuntimeFailure("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error) from None


def encode_result(value):
    try:
        return encode(value)
    except (TypeError, ValueError) as error:
        raise RuntimeFailure("Runtime.MarshalError", "Unable to marshal response: %s" % error) from None


def main():
    task = os.environ["LAMBDA_TASK_ROOT"]
    # The first entry is the folder of this file, where a function has nothing to find.
    sys.path[0] = task
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    log = LogHandler()
    logging.getLogger().addHandler(log)
    client = Client(os.environ["AWS_LAMBDA_RUNTIME_API"])
    sys.meta_path.insert(0, OldClients())
    try:
        handler = load(os.environ["_HANDLER"])
    except Exception as error:
        body = describe(error)
        show(body)
        client.post("init/error", encode(body), {"Lambda-Runtime-Function-Error-Type": body["errorType"]})
        sys.exit(1)
    while True:
        headers, body = client.next()
        request_id = log.request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        os.environ["_X_AMZN_TRACE_ID"] = headers.get("Lambda-Runtime-Trace-Id", "")
        try:
            result = encode_result(handler(parse_event(body), Context(headers)))
        except Exception as error:
            failed = describe(error, request_id)
            show(failed)
            client.post(
                "invocation/%s/error" % request_id, encode(failed), {"Lambda-Runtime-Function-Error-Type": failed["errorType"]}
            )
        else:
            sys.stdout.flush()
            sys.stderr.flush()
            client.post("invocation/%s/response" % request_id, result)


main()
