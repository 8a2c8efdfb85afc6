"""Configuration of topics, brokers and other resources.

DescribeConfigs (key 32, versions 1-4, flexible from 4). 1: where a value comes from, and its synonyms (KIP-226).
3: types and documentation (KIP-569).

AlterConfigs (key 33, versions 0-2, flexible from 2): replaces all overrides of a resource (KIP-133).

IncrementalAlterConfigs (key 44, versions 0-1, flexible from 1): sets, deletes, appends, subtracts (KIP-339).

ListConfigResources (key 74, versions 0-1, flexible): version 0 lists client metrics subscriptions only (KIP-714),
1 all types of resources, or those asked for (KIP-1142).
"""

from __future__ import annotations

from wire.schema import (
    Request,
    Response,
    Structure,
    array,
    boolean,
    int8,
    int16,
    int32,
    nullable_array,
    nullable_string,
    string,
)


class DescribeConfigsRequest(Request, api_key=32, versions="1-4", flexible="4+"):
    class DescribeConfigsResource(Structure):
        resource_type: int = int8()
        resource_name: str = string()
        configuration_keys: list[str] | None = nullable_array(string)

    resources: list[DescribeConfigsResource] = array(DescribeConfigsResource)
    include_synonyms: bool = boolean()
    include_documentation: bool = boolean("3+")


class DescribeConfigsResponse(Response, api_key=32, versions="1-4", flexible="4+"):
    class DescribeConfigsResult(Structure):
        class DescribeConfigsResourceResult(Structure):
            class DescribeConfigsSynonym(Structure):
                name: str = string()
                value: str | None = nullable_string()
                source: int = int8()

            name: str = string()
            value: str | None = nullable_string()
            read_only: bool = boolean()
            config_source: int = int8(default=-1)
            is_sensitive: bool = boolean()
            synonyms: list[DescribeConfigsSynonym] = array(DescribeConfigsSynonym)
            config_type: int = int8("3+", ignorable=True)
            documentation: str | None = nullable_string("3+", ignorable=True)

        error_code: int = int16()
        error_message: str | None = nullable_string()
        resource_type: int = int8()
        resource_name: str = string()
        configs: list[DescribeConfigsResourceResult] = array(DescribeConfigsResourceResult)

    throttle_time_ms: int = int32()
    results: list[DescribeConfigsResult] = array(DescribeConfigsResult)


class AlterConfigsRequest(Request, api_key=33, versions="0-2", flexible="2+"):
    class AlterConfigsResource(Structure):
        class AlterableConfig(Structure):
            name: str = string()
            value: str | None = nullable_string()

        resource_type: int = int8()
        resource_name: str = string()
        configs: list[AlterableConfig] = array(AlterableConfig)

    resources: list[AlterConfigsResource] = array(AlterConfigsResource)
    validate_only: bool = boolean()


class AlterConfigsResponse(Response, api_key=33, versions="0-2", flexible="2+"):
    class AlterConfigsResourceResponse(Structure):
        error_code: int = int16()
        error_message: str | None = nullable_string()
        resource_type: int = int8()
        resource_name: str = string()

    throttle_time_ms: int = int32()
    responses: list[AlterConfigsResourceResponse] = array(AlterConfigsResourceResponse)


class IncrementalAlterConfigsRequest(Request, api_key=44, versions="0-1", flexible="1+"):
    class AlterConfigsResource(Structure):
        class AlterableConfig(Structure):
            name: str = string()
            config_operation: int = int8()
            value: str | None = nullable_string()

        resource_type: int = int8()
        resource_name: str = string()
        configs: list[AlterableConfig] = array(AlterableConfig)

    resources: list[AlterConfigsResource] = array(AlterConfigsResource)
    validate_only: bool = boolean()


class IncrementalAlterConfigsResponse(Response, api_key=44, versions="0-1", flexible="1+"):
    class AlterConfigsResourceResponse(Structure):
        error_code: int = int16()
        error_message: str | None = nullable_string()
        resource_type: int = int8()
        resource_name: str = string()

    throttle_time_ms: int = int32()
    responses: list[AlterConfigsResourceResponse] = array(AlterConfigsResourceResponse)


class ListConfigResourcesRequest(Request, api_key=74, versions="0-1", flexible="0+"):
    resource_types: list[int] = array(int8, "1+")


class ListConfigResourcesResponse(Response, api_key=74, versions="0-1", flexible="0+"):
    class ConfigResource(Structure):
        resource_name: str = string()
        resource_type: int = int8("1+", default=16, ignorable=True)

    throttle_time_ms: int = int32()
    error_code: int = int16()
    config_resources: list[ConfigResource] = array(ConfigResource)
